"""Tables of the ledger."""

import sqlalchemy as sa

VERSION = 1
"""Raised with every change of a table; a table that is new needs none."""

METADATA = sa.MetaData()

schema_version = sa.Table("negvol_schema", METADATA, sa.Column("version", sa.Integer, primary_key=True))

associations = sa.Table(
    "associations",
    METADATA,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("node", sa.String(64), nullable=False),
    sa.Column("opened_at", sa.Double, nullable=False),
    sa.Column("ended_at", sa.Double),
)

generations = sa.Table(
    "generations",
    METADATA,
    sa.Column("study_uid", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("code", sa.String(64), nullable=False, default=""),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("opened_at", sa.Double, nullable=False),
    sa.Column("last_at", sa.Double, nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
    sa.Column("calling_ae", sa.String(16), nullable=False, default=""),
)

instances = sa.Table(
    "instances",
    METADATA,
    sa.Column("sop_uid", sa.String(64), primary_key=True),
    sa.Column("series_uid", sa.String(64), nullable=False),
    sa.Column("study_uid", sa.String(64), nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("sop_class_uid", sa.String(64), nullable=False),
    sa.Column("transfer_syntax", sa.String(64), nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("calling_ae", sa.String(16), nullable=False),
    sa.Column("called_ae", sa.String(16), nullable=False),
    sa.Column("association_id", sa.String(36), nullable=False, index=True),
    sa.Column("received_at", sa.Double, nullable=False),
    sa.Index("instances_of_study", "study_uid", "generation"),
)

verdicts = sa.Table(
    "series_verdicts",
    METADATA,
    sa.Column("study_uid", sa.String(64), primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True),
    sa.Column("series_uid", sa.String(64), primary_key=True),
    sa.Column("measured", sa.Boolean, nullable=False),
    sa.Column("code", sa.String(64), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

results = sa.Table(
    "results",
    METADATA,
    sa.Column("study_uid", sa.String(64), primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(8), primary_key=True),
    sa.Column("sop_uid", sa.String(64), nullable=False, index=True),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("former", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
)

deliveries = sa.Table(
    "deliveries",
    METADATA,
    sa.Column("sop_uid", sa.String(64), primary_key=True),
    sa.Column("destination", sa.String(64), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_try", sa.Double, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
)

orders = sa.Table(
    "orders",
    METADATA,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("ris", sa.Text, nullable=False, index=True),
    sa.Column("study_uid", sa.Text, nullable=False, index=True),
    sa.Column("accession", sa.Text, nullable=False, index=True),
    sa.Column("patient_id", sa.Text, nullable=False, index=True),
    sa.Column("issuer", sa.Text, nullable=False),
    sa.Column("modality", sa.Text, nullable=False),
    sa.Column("scheduled_at", sa.Double),
    sa.Column("seen_at", sa.Double, nullable=False),
    sa.Column("identifier", sa.LargeBinary, nullable=False),
)

commitments = sa.Table(
    "commitments",
    METADATA,
    sa.Column("transaction_uid", sa.String(64), primary_key=True),
    sa.Column("sop_uid", sa.String(64), nullable=False, index=True),
    sa.Column("destination", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("answered_at", sa.Double, nullable=False),
)

commitment_requests = sa.Table(
    "commitment_requests",
    METADATA,
    sa.Column("calling_ae", sa.String(16), primary_key=True),
    sa.Column("transaction_uid", sa.String(64), primary_key=True),
    sa.Column("called_ae", sa.String(16), nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("objects", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_try", sa.Double, nullable=False),
)

removals = sa.Table(
    "removals",
    METADATA,
    sa.Column("study_uid", sa.String(64), primary_key=True),
    sa.Column("removed_at", sa.Double, nullable=False),
    sa.Column("instances", sa.Integer, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

performed = sa.Table(
    "performed_steps",
    METADATA,
    sa.Column("sop_uid", sa.String(64), primary_key=True),
    sa.Column("study_uid", sa.String(64), nullable=False, index=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("images", sa.Text, nullable=False),
    sa.Column("calling_ae", sa.String(16), nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
)
