// Stands in for CouchDB in a container of compose.yaml: pouchdb-server's own parts, in memory, with the administrator
// that COUCHDB_USER and COUCHDB_PASSWORD name, and the two paths of CouchDB's that it lacks: whether it is up, and the
// setting that databases.py makes, which changes nothing here.
'use strict';

const fs = require('fs');
const express = require('express');

const SETTINGS = '/tmp/config.json';
fs.writeFileSync(SETTINGS, JSON.stringify({
  admins: { [process.env.COUCHDB_USER]: process.env.COUCHDB_PASSWORD },
  log: { file: '/tmp/couchdb.log', level: 'error' },
}));

const couch = require('express-pouchdb')({ configPath: SETTINGS });
couch.setPouchDB(require('pouchdb-core')
  .plugin(require('pouchdb-adapter-memory'))
  .plugin(require('pouchdb-replication'))
  .plugin(require('pouchdb-mapreduce'))
  .defaults({ prefix: '/tmp/' }));

const app = express();
app.get('/_up', (request, response) => response.json({ status: 'ok' }));
app.put('/_node/_local/_config/couchdb/max_document_size', (request, response) => response.json('8000000'));
app.use(couch);
const server = app.listen(5984, '0.0.0.0');
process.on('SIGTERM', () => process.exit(0)); // as process 1 it would not end otherwise
server.on('error', (error) => { console.error(String(error)); process.exit(1); });
