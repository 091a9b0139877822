"""deploy/README.md says what the code does: its table of variables is the code's, its commands name what there is."""

from __future__ import annotations

import json
import re
import subprocess

import composition
from deploy.image import names

from instar_controller import cluster_variables, variables
from instar_controller.clients.metrics import Metrics
from instar_controller.whisk import manifest as manifests

PROGRAMS = ("invoking", "dispatching", "cluster_parts", "sharing_plans")  # what has values of a moment watched
README = (names.DEPLOY / "README.md").read_text(encoding="utf-8")


def test_the_table_of_variables_is_the_code_s() -> None:
    written = re.search(r"<!-- variables -->\n(.*?)<!-- end of variables -->", README, re.DOTALL)
    assert written is not None
    assert written[1].splitlines() == variables.table(cluster_variables.ALL).splitlines()


def test_every_variable_of_ours_that_is_named_is_read() -> None:
    known = {variable.name for variable in cluster_variables.ALL}
    named = set(re.findall(r"\bINSTAR_[A-Z_]+\b", README))
    of_the_runtime = {"INSTAR_STORE_MIB"}
    assert named - known - of_the_runtime == set()


def test_every_metric_is_explained_and_no_other() -> None:
    rows = re.findall(r"^\| (`instar_.*?) \|", README, re.MULTILINE)
    explained = {name for row in rows for name in re.findall(r"`(instar_[a-z_]+)", row)}
    always = re.findall(r"^# TYPE (instar_\w+)", Metrics().exposition().decode(), re.MULTILINE)
    watched = re.findall(r"(?:watch|count)(?:_each)?\(\s*\"(instar_\w+)\"", "".join(map(_source, PROGRAMS)))
    assert watched
    assert explained == {*watched, *always} - {name for name in always if name.endswith("_created")}


def _source(program: str) -> str:
    return (names.ROOT / "controller-plugin" / "instar_controller" / f"{program}.py").read_text(encoding="utf-8")


def test_every_file_of_the_folder_is_listed() -> None:
    listed = {
        name for row in re.findall(r"^\| (`.+?`) \|", README, re.MULTILINE) for name in re.findall(r"`(.+?)`", row)
    }
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."]
    files = subprocess.run(command, cwd=names.DEPLOY, capture_output=True, text=True, check=True).stdout.split()
    there = {f"{file.split('/')[0]}/" if "/" in file else file for file in files if (names.DEPLOY / file).exists()}
    assert there - {"README.md"} - listed == set()


def test_what_has_to_be_pulled_is_what_the_manifest_asks_for() -> None:
    pulled = set(re.findall(r"docker pull (\S+)", README))
    kinds = manifests.parse(json.loads((names.DEPLOY / "runtimes.json").read_text(encoding="utf-8"))).kinds
    assert pulled == {kind.image for kind in kinds} - {names.IMAGE}


def test_the_ports_in_its_commands_are_those_of_env_example() -> None:
    example = composition.example()
    asked = set(re.findall(r"http://127\.0\.0\.1:(\d+)", README))
    assert asked <= {example[name] for name in ("API_PORT", "DISPATCHER_PORT", "NODE_1_PORT", "NODE_2_PORT")}
    assert example["API_PORT"] in asked


def test_the_images_are_those_that_this_checkout_makes() -> None:
    assert names.IMAGE in README
    assert set(re.findall(r"instar/controller:\S+", README)) == {names.CONTROLLER_IMAGE}


def test_options_in_its_commands_are_there() -> None:
    flags = {variable.flag for variable in cluster_variables.ALL if variable.flag} | {"--json"}
    for line in re.findall(r"^    (instar (?:invoker|dispatcher) .*)$", README, re.MULTILINE):
        assert set(re.findall(r"(?<!\S)--[\w-]+", line.partition("#")[0])) <= flags, line
