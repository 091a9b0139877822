"""OpenWhisk's three databases as an installation makes them: their design documents, written from section 5.1 of the
wire: which documents a view shows, under which key, with which value.

One rule: what is a document, is decided by its fields: `exec` makes an action, `binding` a package, `trigger` a rule,
`activationId` an activation. The functions are ES5, declared strictly, so that CouchDB and PouchDB run them alike.
"""

from __future__ import annotations

from typing import Any

_SUMMARY = """
  function summary(doc) {
    return {namespace: doc.namespace, name: doc.name, version: doc.version, publish: doc.publish,
            annotations: doc.annotations, updated: doc.updated};
  }
"""

_ACTIONS = f"""function (doc) {{{_SUMMARY}
  if (!doc.exec) {{ return; }}
  var value = summary(doc);
  value.limits = doc.limits;
  value.exec = {{binary: doc.exec.binary || false}};
  var spaces = doc.namespace.split('/');
  emit([doc.namespace, doc.updated], value);
  if (spaces.length > 1) {{ emit([spaces[0], doc.updated], value); }}
}}"""

_PACKAGES = f"""function (doc) {{{_SUMMARY}
  if (!doc.binding) {{ return; }}
  var value = summary(doc);
  value.binding = Object.keys(doc.binding).length > 0 ? doc.binding : false;
  emit([doc.namespace, doc.updated], value);
}}"""

_PUBLIC_PACKAGES = f"""function (doc) {{{_SUMMARY}
  if (!doc.binding || !doc.publish || Object.keys(doc.binding).length > 0) {{ return; }}
  var value = summary(doc);
  value.binding = false;
  emit([doc.namespace, doc.updated], value);
}}"""

_TRIGGERS = f"""function (doc) {{{_SUMMARY}
  if (!doc.parameters || doc.exec || doc.binding) {{ return; }}
  emit([doc.namespace, doc.updated], summary(doc));
}}"""

_RULES = "function (doc) { if (doc.trigger) { emit([doc.namespace, doc.updated], 1); } }"

_ACTIVATION = """
  function summary(doc) {
    var value = {namespace: doc.namespace, name: doc.name, version: doc.version, publish: doc.publish,
                 annotations: doc.annotations, activationId: doc.activationId, start: doc.start, cause: doc.cause};
    if (doc.end) {
      value.end = doc.end;
      value.duration = doc.end - doc.start;
      value.statusCode = doc.response ? doc.response.statusCode : undefined;
    }
    return value;
  }
"""

_ACTIVATIONS = f"""function (doc) {{{_ACTIVATION}
  if (doc.activationId) {{ emit([doc.namespace, doc.start], summary(doc)); }}
}}"""

_ACTIVATIONS_BY_NAME = f"""function (doc) {{{_ACTIVATION}
  if (!doc.activationId) {{ return; }}
  var path = doc.namespace + '/' + doc.name;
  (doc.annotations || []).forEach(function (note) {{
    if (note.key === 'path') {{
      var parts = note.value.split('/');
      path = [doc.namespace].concat(parts.slice(1)).join('/');
    }}
  }});
  (doc.annotations || []).forEach(function (note) {{
    if (note.key === 'binding') {{
      path = [doc.namespace, note.value.split('/').pop(), doc.name].join('/');
    }}
  }});
  emit([path, doc.start], summary(doc));
}}"""

_BY_DATE = "function (doc) { if (doc.activationId) { emit(doc.start, [doc._id, doc._rev]); } }"
_BY_DATE_WITH_LOGS = """function (doc) {
  if (doc.activationId && doc.logs && doc.logs.length > 0) { emit(doc.start, doc._id); }
}"""

_IDENTITIES = """function (doc) {
  if (!doc.uuid && !doc.namespaces || doc.blocked) { return; }
  function tell(space) {
    var value = {_id: space.name + '/limits', namespace: space.name, uuid: space.uuid, key: space.key};
    emit([space.name], value);
    emit([space.uuid, space.key], value);
  }
  (doc.namespaces || []).forEach(tell);
}"""

_BLOCKED = """function (doc) {
  if (doc._id.indexOf('/limits') >= 0) {
    if (doc.concurrentInvocations === 0 || doc.invocationsPerMinute === 0) {
      emit(doc._id.slice(0, doc._id.length - '/limits'.length), 1);
    }
  } else if (doc.blocked) {
    (doc.namespaces || []).forEach(function (space) { emit(space.name, 1); });
  }
}"""


def _design(name: str, reduce: str | None = "_count", **views: str) -> dict[str, Any]:
    return {
        "_id": f"_design/{name}",
        "language": "javascript",
        "views": {
            view.replace("_", "-"): {"map": function} | ({} if reduce is None else {"reduce": reduce})
            for view, function in views.items()
        },
    }


SUBJECTS = [
    _design("subjects.v2.0.0", None, identities=_IDENTITIES),
    _design("namespaceThrottlings", "_sum", blockedNamespaces=_BLOCKED),
]
ENTITIES = [
    _design(
        "whisks.v2.1.0",
        actions=_ACTIONS,
        packages=_PACKAGES,
        packages_public=_PUBLIC_PACKAGES,
        triggers=_TRIGGERS,
        rules=_RULES,
    )
]
ACTIVATIONS = [
    _design("whisks.v2.1.0", activations=_ACTIVATIONS),
    _design("whisks-filters.v2.1.1", activations=_ACTIVATIONS_BY_NAME),
    _design("activations", None, byDate=_BY_DATE),
    _design("logCleanup", None, byDateWithLogs=_BY_DATE_WITH_LOGS),
]
