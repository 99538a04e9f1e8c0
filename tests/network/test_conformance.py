"""docs/conformance.md is true: what it says of presentation contexts is what a running node accepts and proposes."""

import ast
import re
from contextlib import closing
from itertools import chain
from pathlib import Path

import pytest
from archive import Archive, sr
from hostile_pacs import match, pacs, report
from network_node import RunningNode, ct_slice, free_port, make_config
from pydicom import uid as uids
from pydicom.uid import UID, CTImageStorage, SegmentationStorage
from pynetdicom import AE, build_context, build_role, evt, sop_class
from test_committer import ask as ask_commitment
from test_committer import here, reload, request, store, until
from worklist_ris import FakeRis, WorklistNode, query

import negvol_pacs
from negvol_pacs.config import Config, Destination, Limits, Ris
from negvol_pacs.errors import NotOffered, QueryFailed
from negvol_pacs.network import availability, commitment, completion, offer, presence, sender
from negvol_pacs.network.retriever import Wanted, fetch_reports
from negvol_pacs.storage.inbox import Origin
from negvol_pacs.storage.ledger import Ledger

DOCUMENT = Path(__file__).parents[2] / "docs" / "conformance.md"
UPDATE = "update docs/conformance.md: "
CONFIG = Config(limits=Limits(association_timeout_s=5, network_timeout_s=5))


def table(heading: str) -> list[list[str]]:
    """Rows of the first table below a heading."""
    section = DOCUMENT.read_text().split(f"### {heading}\n", 1)[1].split("\n### ", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


SYNTAXES = {name: listed.split(", ") for name, listed in table("4.2 Transfer syntaxes")}


def described(row):
    """The contexts of a row: class, syntax and roles of the node."""
    name, uid, syntaxes, roles = row[-4:]
    assert UID(uid).name in (name, uid), f"{uid} is {UID(uid).name}"  # pydicom does not know all of them
    return {
        (uid, syntax, role) for key in syntaxes.split(", ") for syntax in SYNTAXES[key] for role in roles.split(", ")
    }


def named(contexts):
    return sorted(f"{UID(uid).name}, {UID(syntax).name}, {role}" for uid, syntax, role in contexts)


def known_classes():
    """Every SOP class that pynetdicom knows."""
    found = {
        value for value in vars(sop_class).values() if isinstance(value, UID) and value.startswith("1.2.840.10008")
    }
    return sorted(
        found | set(uids.UID_dictionary) - {u for u, entry in uids.UID_dictionary.items() if entry[1] != "SOP Class"}
    )


def accepted(node, contexts):
    """Propose contexts with both roles; return the accepted ones, with the node's roles."""
    found = set()
    for start in range(0, len(contexts), 128):
        ae = AE("TESTER")
        part = [build_context(uid, list(syntaxes)) for uid, syntaxes in contexts[start : start + 128]]
        roles = [build_role(uid, scu_role=True, scp_role=True) for uid in {context.abstract_syntax for context in part}]
        ae.acse_timeout = 60
        assoc = ae.associate(*node.address, contexts=part, ae_title="NEGVOL", ext_neg=roles)
        for context in assoc.accepted_contexts:
            roles = ["SCP"] * context.as_scu + ["SCU"] * context.as_scp
            found |= {(context.abstract_syntax, context.transfer_syntax[0], role) for role in roles}
        if assoc.is_established:
            assoc.release()
    return found


def test_the_node_accepts_what_is_written_and_nothing_else(tmp_path):
    syntaxes = [uid for uid, entry in uids.UID_dictionary.items() if entry[1] == "Transfer Syntax"]
    assert set(chain.from_iterable(SYNTAXES.values())) <= set(syntaxes)
    config = make_config(tmp_path, association_timeout_s=60, network_timeout_s=60)  # long requests
    ris = Ris(name="ris", ae_title="RIS", host="127.0.0.1", port=1)
    with closing(RunningNode(tmp_path, config.model_copy(update={"ris": (ris,)}))) as node:
        chosen = {uid: syntax for uid, syntax, _ in accepted(node, [(uid, syntaxes) for uid in known_classes()])}
        found = accepted(node, [(uid, [syntax]) for uid in sorted(chosen) for syntax in syntaxes])
    written = set().union(*map(described, table("4.3 Presentation contexts that the node accepts")))
    assert not found - written, f"{UPDATE}the node also accepts {named(found - written)} (table 4.3)"
    assert not written - found, f"{UPDATE}the node does not accept {named(written - found)} (table 4.3)"
    first = {
        row[1]: SYNTAXES[row[2].split(", ")[0]][0] for row in table("4.3 Presentation contexts that the node accepts")
    }
    assert chosen == first, f"{UPDATE}of several transfer syntaxes the node takes another one first (table 4.3)"


@pytest.fixture
def proposed(monkeypatch):
    """What is proposed while a test runs, by a node or for it."""
    found = set()
    associate = sender._Entity.associate

    def spy(self, *arguments, ext_neg=None, **options):
        scp = {role.sop_class_uid for role in ext_neg or () if role.scp_role}
        for context in self.requested_contexts:
            role = "SCP" if context.abstract_syntax in scp else "SCU"
            found.update((context.abstract_syntax, syntax, role) for syntax in context.transfer_syntax)
        return associate(self, *arguments, ext_neg=ext_neg, **options)

    monkeypatch.setattr(sender._Entity, "associate", spy)
    return found


def echo(tmp_path):
    with closing(RunningNode(tmp_path)) as node:
        node.answers_echo()


def results(tmp_path):
    """Send an object of every class of results."""
    paths = []
    for kind in offer.RESULT_CLASSES:
        ds = ct_slice()
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = kind
        if kind == sop_class.LabelMapSegmentationStorage:
            ds.compress(uids.RLELossless)  # as it is made
        paths.append(tmp_path / f"{kind}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    ae = AE("PACS")
    for kind in offer.RESULT_CLASSES:
        ae.add_supported_context(kind, [*offer.TRANSFER_SYNTAXES])
    server = ae.start_server(
        ("127.0.0.1", port := free_port()), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0)]
    )
    sender.send(paths, Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=port), CONFIG)
    server.shutdown()


def request_for_commitment(tmp_path):
    with Archive(mode="never") as archive, closing(Ledger(f"sqlite:///{tmp_path}/ledger.db")) as ledger:
        peer = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=archive.port)
        reference = commitment.Reference(SegmentationStorage, "1.2.3")
        ledger.commitments.plan("2.25.1", "1.2.3", "pacs")
        commitment.ask(peer, "2.25.1", [reference], ledger.commitments, CONFIG)


def report_on_a_commitment(tmp_path):
    with closing(RunningNode(tmp_path)) as node:
        reload(node, destinations=(here(free_port()),))
        assoc, (uid,) = store(node, 1)
        assert ask_commitment(assoc, request({uid: CTImageStorage})) == 0
        assoc.release()
        until(lambda: node.ledger.commitment_requests.waiting()[0].attempts)


def confirmation(tmp_path):
    sr().save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    with Archive() as archive:
        peer = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=archive.port)
        presence.has(peer, presence.Identity.of(tmp_path / "sr.dcm"), CONFIG)


def earlier_reports(tmp_path):
    with pacs(report(), matches=lambda: iter([match()])) as peer:
        fetch_reports(peer, Wanted(1), tmp_path, CONFIG)


def notification(tmp_path):
    sr().save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    ae = AE("MANAGER")
    ae.add_supported_context(sop_class.InstanceAvailabilityNotification)
    handlers = [(evt.EVT_N_CREATE, lambda event: (0x0000, None))]
    server = ae.start_server(("127.0.0.1", port := free_port()), block=False, evt_handlers=handlers)
    peer = Destination(name="manager", kind="availability", ae_title="MANAGER", host="127.0.0.1", port=port)
    availability.notify(peer, presence.Identity.of(tmp_path / "sr.dcm"), [], CONFIG)
    server.shutdown()


def missing_images(tmp_path):
    """An archive that has more, and offers neither C-GET nor C-MOVE, is asked for it."""
    peer = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=free_port())
    ae = AE("PACS")
    ae.add_supported_context(sop_class.StudyRootQueryRetrieveInformationModelFind)
    server = ae.start_server(
        ("127.0.0.1", peer.port), block=False, evt_handlers=[(evt.EVT_C_FIND, lambda _: iter([(0x0000, None)]))]
    )
    with closing(RunningNode(tmp_path)) as node, pytest.raises(QueryFailed):
        completion.missing(peer, "1.2.3", {"1.2.3.4": set()}, CONFIG)
    origin = Origin("PACS", "NEGVOL", "a", "n")
    with pytest.raises(NotOffered):
        completion.fetch(peer, "1.2.3", {"1.2.3.4": ["1.2.3.5"]}, node.inbox, origin, CONFIG)
    server.shutdown()


def worklist(tmp_path):
    ris = FakeRis()
    with closing(WorklistNode(tmp_path, ris.port)) as node:
        node.ask(query())
    ris.stop()


DRIVERS = {
    "echo": (echo, "sender"),
    "results": (results, "sender"),
    "request for commitment": (request_for_commitment, "commitment"),
    "report on a commitment": (report_on_a_commitment, "committer"),
    "confirmation": (confirmation, "presence"),
    "earlier reports": (earlier_reports, "retriever"),
    "worklist": (worklist, "query"),
    "notification": (notification, "availability"),
    "missing images": (missing_images, "completion"),
}
"""What makes the node propose the contexts of a purpose, and the module that does."""


@pytest.mark.parametrize("purpose", DRIVERS)
def test_the_node_proposes_what_is_written_and_nothing_else(tmp_path, proposed, purpose):
    DRIVERS[purpose][0](tmp_path)
    rows = [row for row in table("4.4 Presentation contexts that the node proposes") if row[0] == purpose]
    written = set().union(*map(described, rows))
    assert not proposed - written, (
        f"{UPDATE}for {purpose} the node also proposes {named(proposed - written)} (table 4.4)"
    )
    assert not written - proposed, (
        f"{UPDATE}for {purpose} the node does not propose {named(written - proposed)} (table 4.4)"
    )


def test_every_purpose_is_written_and_every_module_that_proposes_is_tried():
    purposes = {row[0] for row in table("4.4 Presentation contexts that the node proposes")}
    assert purposes == set(DRIVERS), f"{UPDATE}and DRIVERS in this file, so that both name the same purposes"
    found = set()
    for path in Path(negvol_pacs.__file__).parent.rglob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if "associat" in text else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("associated", "associate"):
                found.add(path.stem)
    new = found - {module for _, module in DRIVERS.values()}
    assert not new, (
        f"{UPDATE}{', '.join(sorted(new))} opens associations: add a purpose to table 4.4 and to DRIVERS in this file"
    )


def test_fixed_values_are_written():
    text = DOCUMENT.read_text()
    for value in (offer.IMPLEMENTATION_CLASS_UID, offer.IMPLEMENTATION_VERSION_NAME, negvol_pacs.__version__):
        assert value in text, f"{UPDATE}{value} is missing"
    limits = Config().limits
    for value in (limits.max_pdu_bytes, limits.max_associations, limits.max_associations_per_address):
        assert re.search(rf"\b{value}\b", text), f"{UPDATE}{value} is missing"
