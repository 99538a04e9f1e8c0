"""Values that are no code, files that are no data, deliveries that are none,
the wrong patient (threats 12, 13, 18, 20, 21)."""

import ast
import os
import re
import stat
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest
import sqlalchemy as sa
from archive import Archive
from ct_objects import voxels, write_ct
from network_node import RunningNode, ct_slice, free_port
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage
from sqlalchemy.exc import IntegrityError
from test_delivery import Sending

import negvol_pacs
from negvol_pacs.config import SeriesRules
from negvol_pacs.errors import MixedPatient
from negvol_pacs.network import offer
from negvol_pacs.series import gate
from negvol_pacs.series.selection import read_headers
from negvol_pacs.storage import database, schema
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.orders import Orders
from negvol_pacs.storage.records import DeliveryState, Order
from negvol_pacs.workflow import delivery
from negvol_pacs.workflow.engine import migrate

EVIL = "x' OR '1'='1"
PACKAGE = Path(negvol_pacs.__file__).parent


@pytest.mark.threat(12)
def test_a_value_is_no_sql(switch, tmp_path):
    def spliced(self, patient_id):
        with self._database.reading() as connection:
            return list(connection.execute(sa.text(f"SELECT * FROM orders WHERE patient_id = '{patient_id}'")))

    switch.off(Orders, "of_patient", spliced)
    with closing(Ledger(f"sqlite:///{tmp_path}/ledger.db")) as ledger:
        ledger.orders.record([Order("k", "ris", "1.2", "A", "P-1", "", "CT", None, 9e9, b"")], 1e9)
        assert bool(ledger.orders.of_patient(EVIL)) == switch.is_off


def test_an_error_of_the_database_quotes_nobody(tmp_path):
    with closing(Ledger(f"sqlite:///{tmp_path}/ledger.db")) as ledger:
        values = {column.name: "" for column in schema.orders.columns} | {
            "key": "k",
            "patient_id": "DOE^JANE",
            "identifier": b"",
        }
        values |= {"scheduled_at": None, "seen_at": 0.0}
        with pytest.raises(IntegrityError) as failed, ledger.orders._database.writing() as connection:
            connection.execute(schema.orders.insert().values(**values))
            connection.execute(schema.orders.insert().values(**values))
        assert "JANE" not in str(failed.value)


DANGEROUS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "pickle.load",
    "pickle.loads",
    "yaml.load",
}
SUSPECT = re.compile(
    r"eval\(|exec|shell=|pickle|torch.load|os.system|popen|\btext\(|from_string|compile\(|__import__|yaml"
)
SQL = {"sa.text", "sqlalchemy.text"}


def _is_spliced(argument: ast.expr) -> bool:
    return isinstance(argument, ast.JoinedStr) and not ast.unparse(argument).startswith("f'PRAGMA")


def dangers(source: str) -> list[str]:
    """Calls by which a value could become code: interpreters, shells, pickles, spliced SQL, templates from strings."""
    found = []
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        name = ast.unparse(call.func)
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        loads = name == "torch.load" and keywords.get("weights_only") != "True"
        spliced = name in SQL or name.endswith(("execute", "exec_driver_sql", "from_string"))
        spliced = spliced and any(_is_spliced(argument) for argument in call.args)
        if name in DANGEROUS or keywords.get("shell") == "True" or loads or spliced:
            found.append(f"{name} in line {call.lineno}")
    return found


@cache
def package_dangers() -> list[str]:
    sources = {path.name: path.read_text() for path in PACKAGE.rglob("*.py")}
    suspect = {name: source for name, source in sources.items() if SUSPECT.search(source)}  # parsing takes time
    return [f"{name}: {found}" for name, source in suspect.items() for found in dangers(source)]


@pytest.mark.threat(12)
@pytest.mark.threat(13)
@pytest.mark.parametrize(
    "code",
    [
        "eval(ds.PatientName)",
        "subprocess.run(f'storescu {ds.StationName}', shell=True)",
        "sa.text(f'SELECT {uid}')",
        "jinja2.Environment().from_string(f'{name}')",
        "torch.load(path)",
        "pickle.loads(data)",
    ],
)
def test_nothing_in_the_package_makes_code_of_values(switch, code):
    found = dangers(code) if switch.is_off else package_dangers()
    assert bool(found) == switch.is_off, found


@pytest.mark.threat(13)
@pytest.mark.parametrize("name", ["ledger.db", "workflow.db"])
def test_the_databases_are_for_the_service_alone(switch, tmp_path, name):
    """The engine's database holds pickles: who can write there runs code in the worker."""
    switch.off(database, "_reserve", lambda _path: None)
    switch.off(Path, "touch", lambda *_args, **_options: None)
    mask = os.umask(0o022)
    try:
        if name == "ledger.db":
            Ledger(f"sqlite:///{tmp_path}/ledger.db").close()
        else:
            migrate(tmp_path)
    finally:
        os.umask(mask)
    shared = stat.S_IMODE((tmp_path / name).stat().st_mode) & 0o077
    assert bool(shared) == switch.is_off


@pytest.mark.threat(18)
def test_what_was_sent_and_is_not_kept_is_not_delivered(switch, tmp_path):
    """The archive answers 0x0000 to each C-STORE, keeps nothing, and has to say so when it is asked."""
    switch.off(delivery.Deliveries, "_find_out", lambda *_args, **_options: "store")
    with Archive(free_port(), keeps=False) as archive, closing(Sending(tmp_path, archive)) as node:
        archive.finds = False
        node.deliver()
        assert archive.stored
        assert (node.entry.state is DeliveryState.CONFIRMED) == switch.is_off


@pytest.mark.threat(20)
def test_own_results_that_come_back_start_nothing(switch, tmp_path):
    switch.off(offer, "IMAGE_CLASSES", (*offer.IMAGE_CLASSES, SegmentationStorage))
    switch.off(Ledger, "is_own_result", lambda *_: False)
    with pytest.MonkeyPatch.context() as known:
        if not switch.is_off:
            known.setattr(Ledger, "is_own_result", lambda _self, uid: uid == ct_slice().SOPInstanceUID)
        node = RunningNode(tmp_path)
        ds = ct_slice()
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SegmentationStorage
        assoc = node.associate((SegmentationStorage, ExplicitVRLittleEndian))
        assert assoc.send_c_store(ds).Status == 0
        assoc.release()
        node.close()
    assert bool(node.arrivals) == switch.is_off
    assert any(path.suffix == ".dcm" for path in node.files) == switch.is_off


@pytest.mark.threat(21)
@pytest.mark.parametrize(("keyword", "value"), [("PatientID", "other"), ("PatientName", "ROE^RICHARD")])
def test_a_series_of_two_patients_is_refused(switch, tmp_path, keyword, value):
    paths = write_ct(tmp_path, voxels((5, 8, 8)))
    ds = dcmread(paths[2])
    setattr(ds, keyword, value)
    ds.save_as(paths[2])
    switch.off(gate, "_is_one_patient", lambda *_: None)
    (series,) = read_headers(paths)
    try:
        gate.check(series, SeriesRules(min_slices=3))
        mixed = False
    except MixedPatient:
        mixed = True
    assert mixed != switch.is_off
