"""What the image holds and what it does not: everything that a function may import, and nothing to build with."""

from __future__ import annotations

import pytest
from deploy.image import wheels
from deploy.image.engine import Engine
from deploy.image.recipes import ACTION
from packaging.utils import canonicalize_name

from tests.image.asking import ask

pytestmark = pytest.mark.system

BUILDERS = ("gcc", "cc", "g++", "c++", "clang", "tcc", "ld", "as", "make", "cmake", "ninja", "rustc", "go")

FILES = """
import json, os, stat
raising, caches, wheels = [], [], []
for folder, _, names in os.walk('/'):
    if folder.startswith(('/proc', '/sys')):
        continue
    if '/.cache' in folder or folder.startswith(('/var/lib/apt/lists', '/var/cache/apt')):
        caches += [os.path.join(folder, name) for name in names]
    for name in names:
        path = os.path.join(folder, name)
        if os.lstat(path).st_mode & (stat.S_ISUID | stat.S_ISGID) and not os.path.islink(path):
            raising.append(path)
        if name.endswith('.whl') and not folder.endswith('ensurepip/_bundled'):
            wheels.append(path)
print(json.dumps({'raising': raising, 'caches': caches, 'wheels': wheels, 'places': os.listdir('/')}))
"""

REQUIREMENTS = """
import json, sysconfig
from importlib import metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
site = sysconfig.get_path('purelib')
there = {canonicalize_name(one.metadata['Name']): one for one in metadata.distributions(path=[site])}
wrong = []
for name, one in there.items():
    for extra in ('runtime', 'actions') if name == 'instar' else ('',):
        for need in map(Requirement, one.requires or ()):
            if need.marker is None or need.marker.evaluate({'extra': extra}):
                found = there.get(canonicalize_name(need.name))
                if found is None or not need.specifier.contains(found.version, prereleases=True):
                    wrong.append([name, canonicalize_name(need.name)])
print(json.dumps({'there': sorted(there), 'wrong': sorted(wrong)}))
"""

USE = """
import json, warnings
warnings.simplefilter('ignore')
import torch, torch.utils.benchmark, torch.profiler, torch.export, torch.multiprocessing, torch.testing
import torch.distributed, torch.ao.quantization, torch.onnx, torch.utils.cpp_extension, torch.utils.data, torch.func
import numpy, numpy.testing, requests, tokenizers, blake3, fsspec, networkx, sympy
import PIL.Image, PIL.ImageDraw, PIL.ImageFont, PIL.features
from numpy import *
net, x = torch.nn.Linear(3, 2), torch.ones(1, 3)
same = {
    'traced': torch.equal(torch.jit.trace(net, x)(x), net(x)),
    'scripted': torch.equal(torch.jit.script(net)(x), net(x)),
    'exported': torch.equal(torch.export.export(net, (x,)).module()(x), net(x)),
    'compiled': torch.equal(torch.compile(net, backend='eager')(x), net(x)),
    'inverse': torch.linalg.inv(torch.eye(3) * 2).tolist() == (torch.eye(3) / 2).tolist(),
    'shared': torch.zeros(3).share_memory_().is_shared(),
    'features': [PIL.features.check(name) for name in ('jpg', 'zlib', 'webp')] == [True] * 3,
    'compiled ahead': bool(torch.nn.modules.linear.__cached__) and open(torch.__cached__, 'rb').read(8)[4] == 1,
}
print(json.dumps(same))
"""


def test_nothing_raises_rights_and_nothing_is_left_of_the_build(engine: Engine, image: str) -> None:
    found = ask(engine, image, FILES)
    assert (found["raising"], found["caches"], found["wheels"]) == ([], [], [])
    assert not {"wheels", "inside", "layer", "pip"} & set(found["places"])


def test_there_is_no_compiler_and_no_pip(engine: Engine, image: str) -> None:
    find = f"[name for name in {BUILDERS!r} if shutil.which(name)]"
    pip = "importlib.util.find_spec('pip') is not None"
    code = f"import importlib.util, json, shutil; print(json.dumps([{find}, {pip}]))"
    assert ask(engine, image, code) == [[], False]


def test_every_requirement_is_met_but_those_left_out_for_a_reason(engine: Engine, image: str) -> None:
    found = ask(engine, image, REQUIREMENTS)
    lines = ACTION.packages.read_text(encoding="utf-8").splitlines()
    left_out = [line.removeprefix("#- ").split(": ", 2) for line in lines if line.startswith("#- ")]
    assert found["wrong"] == sorted([needed_by, package] for package, needed_by, _reason in left_out)
    assert set(found["there"]) == {*map(canonicalize_name, wheels.packages(ACTION)), "torch", "instar"}


def test_what_a_function_may_call_is_there(engine: Engine, image: str) -> None:
    wrong = [name for name, right in ask(engine, image, USE).items() if not right]
    assert wrong == []
