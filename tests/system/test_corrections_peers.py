"""A corrected SEG goes from a viewer to Orthanc, from there to the node, and into a training."""

from contextlib import closing
from pathlib import Path

import pytest
import requests
from outlined_head import OutlinedHead, outlined_head
from peers import Orthanc, wait_for
from served_node import storescu
from structlog.testing import capture_logs
from typer.testing import CliRunner

from negvol_pacs.cli import app
from negvol_pacs.config import Config, Corrections, Limits, Node, Peer, SeriesRules
from negvol_pacs.network.listener import Listener
from negvol_pacs.segmentation.bundle import save_bundle
from negvol_pacs.segmentation.networks import architecture, build_network
from negvol_pacs.training.cases.case import Dataset
from negvol_pacs.training.finetune import rounds
from negvol_pacs.workflow import layout
from negvol_pacs.workflow.steps import Steps

pytestmark = [pytest.mark.system, pytest.mark.slow]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> OutlinedHead:
    return outlined_head(tmp_path_factory.mktemp("head"), seed=1)


def start_bundle(folder: Path) -> Path:
    """A tiny network that knows nothing yet."""
    kind, arguments = architecture("vnet", (4, 8))
    network = build_network(kind, **arguments)
    words = {"version": "0.0", "description": "Tiny.", "card": "# Tiny\n"}
    save_bundle(folder / "bones", network, arguments, spacing_mm=1.5, window=(32, 32, 32), **words)
    return folder / "bones"


def test_a_corrected_seg_is_learned_from(head: OutlinedHead, orthanc: Orthanc, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    config = Config(
        node=Node(state=tmp_path / "state", port=orthanc.node_port),
        peers=(Peer.model_validate({"ae_title": orthanc.ae_title, "networks": ["127.0.0.0/8"]}),),
        limits=Limits(min_free_bytes=0),
        series=SeriesRules(quiet_period_s=0),
        corrections=Corrections(folder=dataset, calling_ae=(orthanc.ae_title,)),
    )
    study = head.series.study_instance_uid
    with closing(layout.open_ledger(config.node.state)) as ledger, capture_logs() as logs:
        inbox = layout.open_inbox(config, ledger)
        listener = Listener(config, inbox, lambda arrival: None)
        steps = Steps(config, ledger, inbox, layout.open_outbox(config.node.state), networks=None)  # type: ignore[arg-type]
        listener.start()
        try:
            for number, files in enumerate((head.ct, head.ours, head.corrected), start=1):
                folder = files
                if files.is_file():
                    folder = tmp_path / files.stem
                    folder.mkdir()
                    (folder / files.name).hardlink_to(files)
                # The PACS gets images, our SEG and the viewer's, and routes each of them to the node.
                storescu(folder, orthanc.ae_title, orthanc.port)
                route(orthanc, study)
                wait_for(lambda: not listener.connections, 20, "the node has it all")
                if files != head.ours:
                    ledger.association_ended("")
                    generations, _ = steps.close(study)
                    assert [steps.select(study, generation) for generation in generations] == [True]
                assert bool(dataset.is_dir()) is (number == 3)
        finally:
            listener.stop()
    (name,) = Dataset(dataset).names()
    assert [log["case"] for log in logs if log["event"] == "correction-kept"] == [name]

    bundle, out = start_bundle(tmp_path / "start"), tmp_path / "tuned" / "bones"
    (tmp_path / "recipe.toml").write_text(
        "learning_rate = 0.02\nprecision = 'fp32'\nedge = 40\npool = 4\nper_step = 0.0\nheld_out = 1\n"
    )
    command = ["train", "bones", "--finetune", "--dataset", str(dataset), "--start", str(bundle), "--steps", "30"]
    command += ["--heads", "0", "--painters", "0", "--out", str(out), "--config", str(tmp_path / "recipe.toml")]
    done = CliRunner(env={"COLUMNS": "200"}).invoke(
        app, [*command, "--runs", str(tmp_path / "runs")], catch_exceptions=False
    )
    assert "before, cases not seen before: 2 joints" in done.output
    assert "Go on: unseen cases have GapDice" in done.output
    (turn,) = rounds(dataset)
    assert turn.new == (name,)
    assert turn.before.gap_dice is not None
    assert turn.after.gap_dice is not None
    assert turn.after.gap_dice > turn.before.gap_dice
    assert "Trained on real cases" in (out / "docs" / "README.md").read_text()


def route(orthanc: Orthanc, study: str) -> None:
    """Have the PACS send all it has of a study to the node."""
    session = requests.Session()
    session.trust_env = False
    query = {"Level": "Study", "Query": {"StudyInstanceUID": study}}
    found = session.post(f"{orthanc.url}/tools/find", json=query, timeout=30).json()
    answer = session.post(f"{orthanc.url}/modalities/negvol/store", json=found, timeout=60)
    assert answer.status_code == 200, answer.text
