"""Names from peers and files name no file of ours (threats 1, 2, 4; 3 is in test_hostile_servers)."""

import sys
import threading
from pathlib import Path

import pytest
from ct_objects import voxels, write_ct
from network_node import LOOPBACK, ct_slice, make_config
from pydantic import ValidationError
from pydicom import __version__ as pydicom_version
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MediaStorageDirectoryStorage
from pynetdicom import AE
from raw_peer import associated, fragment, leftovers, raw_data_set, read_pdu, store_command
from worklist_ris import WorklistNode, query

from negvol_pacs.config import Peer
from negvol_pacs.network import admission
from negvol_pacs.network.worklist import Worklist
from negvol_pacs.series import selection
from negvol_pacs.storage import identify, inbox, place
from negvol_pacs.storage.inbox import Inbox

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")


@pytest.mark.threat(1)
def test_a_uid_that_is_a_path_names_no_file(switch, node, tmp_path):
    """Syntax, hashed names and the check of the root: each alone is enough."""
    anything = lambda *_: True  # noqa: E731
    switch.off(inbox, "is_uid", anything)
    switch.off(identify, "is_uid", anything)
    switch.off(place, "of_object", lambda identity, _sha256: f"objects/{identity.sop_uid}.dcm")
    switch.off(Inbox, "_below_root", lambda self, relative: self._root / relative)
    uid, ds = "../../escaped", ct_slice()
    ds.SOPInstanceUID = uid
    with associated(node) as connection:
        connection.sendall(store_command(uid) + fragment(raw_data_set(ds), command=False, last=True))
        assert read_pdu(connection)[:1] == b"\x04"
    assert (tmp_path / "escaped.dcm").exists() == switch.is_off
    assert leftovers(node) == []


_opened: list[str] = []
_watching = threading.Event()


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if _watching.is_set() and event in ("open", "os.mkdir", "os.rename", "os.remove", "os.listdir"):
        _opened.extend(str(argument) for argument in arguments)


sys.addaudithook(_note)


@pytest.fixture
def opened():
    """Paths that this process opens, makes, moves, lists or removes."""
    _opened.clear()
    _watching.set()
    yield _opened
    _watching.clear()


@pytest.mark.threat(2)
def test_an_ae_title_that_is_a_path_opens_no_file(switch, tmp_path, opened):
    """CVE-2026-52868 looked worklists up in a folder of the called or calling AE title."""
    title = "../../EVIL"
    find = Worklist.find

    def in_a_folder(self, event):
        folder = tmp_path / event.assoc.dimse.origin.calling_ae
        if folder.is_dir():
            list(folder.iterdir())
        (tmp_path / "EVIL").mkdir(exist_ok=True)
        Path(f"{folder}.lock").touch()
        yield from find(self, event)

    switch.off(Worklist, "find", in_a_folder)
    state = tmp_path / "a" / "state"
    state.mkdir(parents=True)
    node = WorklistNode(state, 1)
    node.listener.reload(node.config.model_copy(update={"peers": (Peer(ae_title=title, networks=LOOPBACK),)}))
    ae = AE(title)
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    ae.add_requested_context("1.2.840.10008.5.1.4.31")
    assoc = ae.associate(*node.address, ae_title="NEGVOL")
    assert assoc.send_c_store(ct_slice()).Status == 0
    list(assoc.send_c_find(query(), "1.2.840.10008.5.1.4.31"))
    assoc.release()
    node.close()
    assert opened
    assert any("EVIL" in path for path in opened) == switch.is_off


@pytest.mark.parametrize("title", ["A\\B", "..\\..\\X", "A\nB", "seventeen letters", "", "Ä"])
def test_an_ae_title_has_the_syntax_of_the_standard(title):
    with pytest.raises(ValidationError):
        Peer(ae_title=title, networks=())


def test_an_ae_title_from_a_peer_is_compared_and_nothing_else(tmp_path):
    request = admission.Request("A\\..\\TESTER", "NEGVOL", "127.0.0.1", 0)
    assert admission.admit(request, make_config(tmp_path)) is not None


def directory(folder: Path, target: str) -> Path:
    """A DICOMDIR whose only record refers to another file."""
    record, ds = Dataset(), Dataset()
    record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", target.split("/")
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = MediaStorageDirectoryStorage, "1.2"
    ds.FileSetID, ds.DirectoryRecordSequence = "X", [record]
    ds.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder / "DICOMDIR"


@pytest.mark.threat(4)
@pytest.mark.filterwarnings("ignore")
def test_a_dicomdir_leads_to_no_other_file(switch, tmp_path):
    (secret,) = write_ct(tmp_path / "secret", voxels((1, 4, 4)))
    media = tmp_path / "media"
    media.mkdir()
    path = directory(media, f"../secret/{secret.name}")
    read_header = selection._read_header

    def followed(path):
        header = read_header_of_directory(path)
        for record in header.get("DirectoryRecordSequence", ()):
            return read_header(path.parent.joinpath(*record.ReferencedFileID))
        return header

    from pydicom import dcmread as read_header_of_directory

    switch.off(selection, "_read_header", followed)
    reasons = []
    found = selection.read_headers([path], lambda _path, reason: reasons.append(reason))
    assert bool(found) == switch.is_off
    assert reasons == ([] if switch.is_off else ["no Series Instance UID"])
    assert tuple(map(int, pydicom_version.split(".")[:3])) >= (3, 0, 2)
