"""The views of a cluster's plans, for people and for whoever wants numbers: nothing of Instar's needs them.

actions   by name: how many models it has                                 ?group=true
models    by digest: how many characters its document has
plans     by [costs, source, target]: [transform ms, load ms, whether there is a plan]; counts with reduce
costs     by kind of device: the digest under which its plans lie
"""

from __future__ import annotations

from instar_controller.clients.couch.documents import Design

DESIGN = Design(
    "instar.v1",
    (
        (
            "actions",
            "function (doc) { if (doc.type === 'action') { emit(doc.action, Object.keys(doc.archived).length "
            "+ (doc.located ? 1 : 0)); } }",
            "_sum",
        ),
        ("models", "function (doc) { if (doc.type === 'model') { emit(doc.digest, doc.data.length); } }", "_sum"),
        (
            "plans",
            "function (doc) { if (doc.type === 'plan') { emit([doc.costs, doc.source, doc.target], "
            "[doc.transform_ns / 1e6, doc.load_ns / 1e6, doc.plan]); } }",
            "_count",
        ),
        ("costs", "function (doc) { if (doc.type === 'costs') { emit(doc.device, doc.key); } }", None),
    ),
)
