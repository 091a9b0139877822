// Drives a server with the npm `openwhisk` client and prints what came of it, one JSON object.
// Asserts nothing: what must hold is said by the test that runs it.
'use strict'

const openwhisk = require('openwhisk')

const ow = openwhisk({ apihost: process.env.APIHOST, api_key: process.env.API_KEY })
const wrong = openwhisk({ apihost: process.env.APIHOST, api_key: process.env.API_KEY.slice(0, -1) + '!' })

const ECHO = 'def main(args):\n    print("called")\n    return args\n'

const steps = {
  create: () => ow.actions.create({ name: 'echo', action: ECHO, kind: 'python:3', params: { a: 1 }, annotations: { note: 'n' } }),
  createAgain: () => ow.actions.create({ name: 'echo', action: ECHO, kind: 'python:3' }),
  update: () => ow.actions.update({ name: 'echo', action: ECHO, kind: 'python:default', params: { a: 2 }, limits: { timeout: 30000 } }),
  get: () => ow.actions.get('echo'),
  list: () => ow.actions.list({ limit: 10 }),
  unicode: () => ow.actions.invoke({ name: 'echo', params: { 'ü': '❄ ☃' }, blocking: true, result: true }),
  blocking: () => ow.actions.invoke({ name: 'echo', params: { b: 3 }, blocking: true }),
  result: () => ow.actions.invoke({ name: 'echo', params: { b: 3 }, blocking: true, result: true }),
  nonBlocking: () => ow.actions.invoke({ name: 'echo', params: { late: true } }),
  qualified: () => ow.actions.invoke({ name: '/guest/echo', blocking: true, result: true }),
  createFailing: () => ow.actions.create({ name: 'failing', action: 'def main(args):\n    return {"error": "no such model"}\n', kind: 'python:3' }),
  failing: () => ow.actions.invoke({ name: 'failing', blocking: true }),
  createArchive: () => ow.actions.create({ name: 'zipped', action: Buffer.from(process.env.ARCHIVE, 'base64'), kind: 'python:3' }),
  archive: () => ow.actions.invoke({ name: 'zipped', blocking: true, result: true }),
  createEnv: () => ow.actions.create({
    name: 'env',
    action: {
      exec: { kind: 'python:3', code: 'import os\nD = os.environ["DIR"]\ndef main(args):\n    return {"dir": D, "args": args}\n' },
      parameters: [{ key: 'DIR', value: '/models', init: true }]
    }
  }),
  env: () => ow.actions.invoke({ name: 'env', blocking: true, result: true }),
  package: () => ow.packages.create({ name: 'ml', package: { parameters: [{ key: 't', value: 0.5 }] } }),
  packaged: () => ow.actions.create({ name: 'ml/echo', action: ECHO, kind: 'python:3' }),
  inPackage: () => ow.actions.invoke({ name: 'ml/echo', blocking: true, result: true }),
  packageGet: () => ow.packages.get('ml'),
  packageList: () => ow.packages.list(),
  packageNotEmpty: () => ow.packages.delete('ml'),
  packagedDelete: () => ow.actions.delete('ml/echo'),
  packageDelete: () => ow.packages.delete('ml'),
  triggers: () => ow.triggers.list(),
  rules: () => ow.rules.list(),
  namespaces: () => ow.namespaces.list(),
  missing: () => ow.actions.get('nosuch'),
  trigger: () => ow.triggers.create({ name: 't' }),
  sequence: () => ow.actions.create({ name: 's', sequence: ['/_/echo', '/_/failing'] }),
  unknownKind: () => ow.actions.create({ name: 'x', action: 'x', kind: 'cobol:1' }),
  tooMuchMemory: () => ow.actions.create({ name: 'x', action: 'x', kind: 'python:3', limits: { memory: 1 } }),
  wrongKey: () => wrong.actions.list(),
  delete: () => ow.actions.delete('echo'),
  deleted: () => ow.actions.get('echo')
}

// The activations of the steps before; the server keeps their records once their logs are read.
const laterSteps = {
  activation: (done) => ow.activations.get(done.nonBlocking.value.activationId),
  activationResult: (done) => ow.activations.result(done.nonBlocking.value.activationId),
  activationLogs: (done) => ow.activations.logs(done.nonBlocking.value.activationId),
  activationList: () => ow.activations.list({ name: 'echo', limit: 3 }),
  activationDocs: () => ow.activations.list({ name: 'echo', docs: true, limit: 1 })
}

async function take (step, done) {
  try {
    return { value: await step(done) }
  } catch (error) {
    return { error: { name: error.name, message: error.message, statusCode: error.statusCode, body: error.error } }
  }
}

// A record is there when its log has been read: asked for until it is, with the client's own error in between.
async function stored (id) {
  const end = Date.now() + 60000
  while (Date.now() < end) {
    const found = await take(() => ow.activations.get(id))
    if (found.value) return
  }
}

async function main () {
  const done = {}
  for (const [name, step] of Object.entries(steps)) {
    if (name === 'delete') {
      await stored(done.nonBlocking.value.activationId)
      for (const [later, laterStep] of Object.entries(laterSteps)) done[later] = await take(laterStep, done)
    }
    done[name] = await take(step, done)
  }
  process.stdout.write(JSON.stringify(done))
}

main()
