"""The configuration is checked key by key; every mistake is named."""

import tomllib
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from negvol_pacs.config import Config, load
from negvol_pacs.errors import ConfigError
from negvol_pacs.workflow.reload import reloaded

DEFAULT = Path(__file__).resolve().parents[1] / "config.toml"


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_annotated_default_file_is_the_default():
    assert load(DEFAULT) == Config()


def test_the_annotated_default_file_shows_every_key():
    text = DEFAULT.read_text(encoding="utf-8")
    shown = tomllib.loads(text)
    for section, model in Config().model_dump().items():
        if isinstance(model, dict):
            missing = {key for key in model if key not in shown[section] and f"# {key} = " not in text}
            assert not missing, f"[{section}] {missing}"


def test_an_empty_file_is_the_default(write):
    assert load(write("")) == Config()


def test_peers_and_destinations(write):
    config = load(
        write(
            '[[peers]]\nae_title = " PACS "\nnetworks = ["192.0.2.0/24", "::1/128"]\n'
            '[[destinations]]\nname = "archive"\nae_title = "PACS"\nhost = "192.0.2.1"\nport = 104\n'
        )
    )
    assert config.peers[0].ae_title == "PACS"
    assert config.peers[0].networks == (ip_network("192.0.2.0/24"), ip_network("::1/128"))
    assert config.destinations[0].calling_ae_title is None


def test_nobody_may_send_by_default():
    assert Config().peers == ()
    assert Config().node.host == "127.0.0.1"


def test_every_mistake_is_named_at_once(write):
    path = write('nod = 1\n[node]\nport = 70000\naet = "X"\n[series]\nmin_slices = "many"\n')
    with pytest.raises(ConfigError) as caught:
        load(path)
    for words in (
        str(path),
        "unknown key nod",
        "node.port",
        "70000",
        "unknown key node.aet",
        "series.min_slices",
        "many",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[node]\nae_title = "SEVENTEEN_LETTERS"', "node.ae_title"),
        ('[node]\nae_title = "BACK\\\\SLASH"', "node.ae_title"),
        ('[node]\nae_title = "  "', "node.ae_title"),
        ('[[peers]]\nae_title = "A"\nnetworks = ["192.0.2.1/24"]', "peers.0.networks.0"),
        ('[[peers]]\nae_title = "A"', "peers.0.networks"),
        ('[[peers]]\nae_title = "A"\nnetworks = []\nservices = ["find"]', "peers.0.services"),
        ('[[destinations]]\nname = "x"\nae_title = "A"\nhost = "h"\nport = 0', "destinations.0.port"),
        (2 * '[[ris]]\nname = "x"\nae_title = "A"\nhost = "h"\nport = 104\n', "ris: .* a name of its own"),
        (2 * '[[profiles]]\nae_title = "A"\n', "profiles needs an AE title of its own"),
        ('[[peers]]\nae_title = "A"\nnetworks = []\narchive = "none"', "no DICOM destination none"),
        ("[limits]\nmax_associations = 0", "limits.max_associations"),
        ("[series]\nmax_spacing_mm = 0", "series.max_spacing_mm"),
        ('[pipeline]\ndevice = "gpu"', "pipeline.device"),
        ('[log]\nlevel = "loud"', "log.level"),
        ('[web]\nhosts = ["*"]', "web.hosts.0"),
        ('[web]\nhost = "0.0.0.0"', "tls and password_file are needed"),
        ('[web]\nhost = "status.example.org"\npassword_file = "users"', "tls and password_file are needed"),
        ('[web]\nhost = "::"\ntls = { certificate = "c", key = "k" }', "tls and password_file are needed"),
    ],
)
def test_bad_values_are_named(write, text, key):
    with pytest.raises(ConfigError, match=key):
        load(write(text))


def test_profiles_are_found_by_called_ae_title_the_first_counts(write):
    text = '[[profiles]]\nae_title = "SEGS"\nresults = "segmentation"\n[[profiles]]\nae_title = "BRIEF"\n'
    config = load(write(text))
    assert config.ae_titles == ("NEGVOL", "SEGS", "BRIEF")
    assert config.profile(["BRIEF", "SEGS"]).results == "segmentation"
    assert config.profile(["NEGVOL"]).results == "all"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.1.2.3"])
def test_the_status_page_needs_no_guard_on_this_machine(write, host):
    assert load(write(f'[web]\nhost = "{host}"')).web.tls is None


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1"])
def test_devices(write, device):
    assert load(write(f'[pipeline]\ndevice = "{device}"')).pipeline.device == device


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "absent.toml")


def test_a_file_that_is_not_toml(write, tmp_path):
    with pytest.raises(ConfigError, match="not a TOML file"):
        load(write("[node"))
    (tmp_path / "latin.toml").write_bytes(b'[node]\nae_title = "\xe4"')
    with pytest.raises(ConfigError, match="not a TOML file"):
        load(tmp_path / "latin.toml")


@given(
    st.text(
        alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\"), min_size=1, max_size=16
    )
)
def test_any_printable_ae_title_of_sixteen_characters(title):
    if title.strip():
        assert Config.model_validate({"node": {"ae_title": title}}).node.ae_title == title.strip()


def test_reading_again_takes_peers_destinations_and_delivery_and_names_what_waits(write):
    running = load(write('[node]\nexecutor_id = "gpu1"\n'))
    path = write("""
[node]
port = 104
[limits]
max_associations = 3
[delivery]
first_retry_s = 1.0
[[peers]]
ae_title = "NEW"
networks = ["192.0.2.0/24"]
[[destinations]]
name = "archive"
ae_title = "PACS"
host = "192.0.2.1"
port = 104
""")
    config, waiting = reloaded(running, path)
    assert [peer.ae_title for peer in config.peers] == ["NEW"]
    assert [item.name for item in config.destinations] == ["archive"]
    assert config.delivery.first_retry_s == 1.0
    assert (config.node, config.limits) == (running.node, running.limits)
    assert waiting == ["node", "limits"]


def test_a_worker_named_on_the_command_line_needs_no_restart(write):
    path = write("[node]")
    running = load(path)
    running = running.model_copy(update={"node": running.node.model_copy(update={"executor_id": "gpu1"})})
    assert reloaded(running, path) == (running, [])
