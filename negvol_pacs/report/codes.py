"""Coded concepts of the results.

Every function makes a **new** concept at each call. highdicom puts a concept into the
data set without copying it, so one object used for right and left would end up with the
laterality that was written last.
"""

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.joint.findings import Landmark, Quantity
from negvol_pacs.quality import QualityFlag

SCHEME = "99NEGVOL"
"""Private coding scheme for what SNOMED CT, DCM and IBSI have no code for."""

_STRUCTURES = {
    Structure.MC: ("67183008", "SCT", "Condyloid process of mandible"),
    Structure.TB: ("60911003", "SCT", "Temporal bone"),
    Structure.NV: ("NV", SCHEME, "Negative volume of temporomandibular joint"),
}

_SIDES = {
    Side.RIGHT: ("24028007", "SCT", "Right"),
    Side.LEFT: ("7771000", "SCT", "Left"),
    None: ("51440002", "SCT", "Right and left"),
}

# The joint spaces have private names: readers that ignore modifiers, as dcmqi does, would
# show three equal distances (121206, DCM).
_QUANTITIES = {
    Quantity.FW: ("103355008", "SCT", "Width"),
    Quantity.FD: ("131197000", "SCT", "Depth"),
    Quantity.AJS: ("AJS", SCHEME, "Anterior joint space"),
    Quantity.SJS: ("SJS", SCHEME, "Superior joint space"),
    Quantity.PJS: ("PJS", SCHEME, "Posterior joint space"),
    Quantity.MJS: ("MJS", SCHEME, "Medial joint space"),
    Quantity.CJS: ("CJS", SCHEME, "Central joint space"),
    Quantity.LJS: ("LJS", SCHEME, "Lateral joint space"),
    Quantity.HCA: ("HCA", SCHEME, "Horizontal condylar angle"),
    Quantity.SRA: ("SRA", SCHEME, "Sagittal ramus angle"),
    Quantity.NV_VOLUME: ("118565006", "SCT", "Volume"),
    Quantity.NV_AREA: ("C0JK", "IBSI", "Surface area of mesh"),
    Quantity.JSW_P05: ("JSW_P05", SCHEME, "Width of joint space, 5th percentile"),
    Quantity.JSW_P25: ("JSW_P25", SCHEME, "Width of joint space, 25th percentile"),
    Quantity.JSW_P50: ("JSW_P50", SCHEME, "Width of joint space, 50th percentile"),
    Quantity.JSW_P75: ("JSW_P75", SCHEME, "Width of joint space, 75th percentile"),
    Quantity.JSW_P95: ("JSW_P95", SCHEME, "Width of joint space, 95th percentile"),
    Quantity.HEAD_VOLUME: ("HEAD_VOLUME", SCHEME, "Volume of condylar head"),
    Quantity.HEAD_AREA: ("HEAD_AREA", SCHEME, "Surface area of condylar head"),
    Quantity.FOSSA_AREA: ("FOSSA_AREA", SCHEME, "Surface area of articulating part of mandibular fossa"),
    Quantity.SPHERE: ("SPHERE", SCHEME, "Volume of sphere over fossa minus bones"),
    Quantity.MC_DICE: ("MC_DICE", SCHEME, "Predicted Dice of condyle"),
    Quantity.TB_DICE: ("TB_DICE", SCHEME, "Predicted Dice of temporal bone"),
    Quantity.S_LR: ("S_LR", SCHEME, "Ratio of surface areas of negative volumes"),
    Quantity.H_LR: ("H_LR", SCHEME, "Hausdorff distance of negative volumes"),
    Quantity.H95_LR: ("H95_LR", SCHEME, "95th percentile Hausdorff distance of negative volumes"),
    Quantity.D_LR: ("D_LR", SCHEME, "Mean surface distance of negative volumes"),
    Quantity.W_LR: ("W_LR", SCHEME, "Sliced 1-Wasserstein distance of negative volumes"),
    Quantity.AXIS: ("AXIS", SCHEME, "Uncertainty of transverse axis"),
}

_METHODS = {
    Quantity.FW: ("M_FW", SCHEME, "FW: articular eminence to postglenoid process"),
    Quantity.FD: ("M_FD", SCHEME, "FD: roof of fossa to line of fossa width"),
    Quantity.HCA: ("M_HCA", SCHEME, "HCA: long axis to transverse axis, axial view"),
    Quantity.SRA: ("M_SRA", SCHEME, "SRA: posterior border of neck to line of fossa width"),
    Quantity.NV_VOLUME: ("M_NV_VOLUME", SCHEME, "Volume enclosed by mesh of negative volume"),
    **dict.fromkeys(
        (Quantity.JSW_P05, Quantity.JSW_P25, Quantity.JSW_P50, Quantity.JSW_P75, Quantity.JSW_P95),
        ("M_JSW", SCHEME, "JSW: along normals of condyle to temporal bone"),
    ),
    **dict.fromkeys(
        (Quantity.HEAD_VOLUME, Quantity.HEAD_AREA), ("M_HEAD", SCHEME, "Head: condyle to 3 mm below its widest level")
    ),
    **dict.fromkeys(
        (Quantity.MC_DICE, Quantity.TB_DICE), ("M_DICE", SCHEME, "Dice: predicted from doubts of the segmentation")
    ),
    Quantity.S_LR: ("M_S_LR", SCHEME, "S_LR: larger area by smaller area"),
    Quantity.H_LR: ("M_H_LR", SCHEME, "H_LR: left against mirrored right, after alignment"),
}

_UNITS = {
    "mm": ("mm", "UCUM", "mm"),
    "mm2": ("mm2", "UCUM", "mm2"),
    "mm3": ("mm3", "UCUM", "mm3"),
    "deg": ("deg", "UCUM", "deg"),
    "{ratio}": ("{ratio}", "UCUM", "ratio"),
}

_LANDMARKS = {
    Landmark.CONDYLE_CENTRE: "L_CENTRE",
    Landmark.CONDYLE_TOP: "L_TOP",
    Landmark.CONDYLE_ANTERIOR: "L_ANTERIOR",
    Landmark.CONDYLE_POSTERIOR: "L_POSTERIOR",
    Landmark.MEDIAL_POLE: "L_MEDIAL_POLE",
    Landmark.LATERAL_POLE: "L_LATERAL_POLE",
    Landmark.EMINENCE: "L_EMINENCE",
    Landmark.POSTGLENOID: "L_POSTGLENOID",
    Landmark.ROOF: "L_ROOF",
    Landmark.FOSSA_ANTERIOR: "L_FOSSA_ANT",
    Landmark.FOSSA_POSTERIOR: "L_FOSSA_POST",
    Landmark.CONDYLE_MEDIAL: "L_MEDIAL",
    Landmark.CONDYLE_CENTRAL: "L_CENTRAL",
    Landmark.CONDYLE_LATERAL: "L_LATERAL",
    Landmark.FOSSA_MEDIAL: "L_FOSSA_MED",
    Landmark.FOSSA_CENTRAL: "L_FOSSA_CENTRAL",
    Landmark.FOSSA_LATERAL: "L_FOSSA_LAT",
    Landmark.NECK_UPPER: "L_NECK_UPPER",
    Landmark.NECK_LOWER: "L_NECK_LOWER",
}

_FLAGS = {
    QualityFlag.COARSE_SPACING: "Q_COARSE",
    QualityFlag.NOT_HOUNSFIELD: "Q_NOT_HU",
    QualityFlag.JOINT_OUTSIDE_FIELD: "Q_OUTSIDE",
    QualityFlag.JOINT_NOT_FOUND: "Q_NO_JOINT",
    QualityFlag.PART_OUTSIDE_FIELD: "Q_PART_OUTSIDE",
    QualityFlag.SEGMENTATION_DOUBTFUL: "Q_SEGMENTATION",
    QualityFlag.SMALLER_WINDOWS: "Q_WINDOWS",
    QualityFlag.IMAGE_NOISY: "Q_NOISE",
    QualityFlag.SURFACES_UNCLEAR: "Q_UNCLEAR",
    QualityFlag.BONE_CONTACT: "Q_CONTACT",
    QualityFlag.FOSSA_NOT_FOUND: "Q_NO_FOSSA",
    QualityFlag.CONDYLE_ROUND: "Q_ROUND",
    QualityFlag.NECK_TOO_SHORT: "Q_SHORT_NECK",
    QualityFlag.CONDYLE_OUTSIDE_FOSSA: "Q_LUXATION",
    QualityFlag.NOT_CLOSED: "Q_NOT_CLOSED",
    QualityFlag.NOT_CONVERGED: "Q_NOT_CONVERGED",
    QualityFlag.SKULL_UNLIKE: "Q_SKULL_UNLIKE",
    QualityFlag.OTHER_SIDE_MISSING: "Q_ONE_SIDE",
    QualityFlag.DIFFERENT_METHOD: "Q_VERSION",
    QualityFlag.COMPUTATION_FAILED: "Q_FAILED",
}


def scheme_identification() -> list[CodingSchemeIdentificationItem]:
    """Items of Coding Scheme Identification Sequence (0008,0110)."""
    return [
        CodingSchemeIdentificationItem(
            designator=SCHEME,
            name="Negative volume of the temporomandibular joint",
            responsible_organization="negvol-pacs",
        )
    ]


def structure(value: Structure) -> CodedConcept:
    """Segmented property type or finding."""
    return CodedConcept(*_STRUCTURES[value])


def category(value: Structure) -> CodedConcept:
    """Segmented property category."""
    if value is Structure.NV:
        return CodedConcept("309825002", "SCT", "Spatial and Relational Concept")
    return CodedConcept("91723000", "SCT", "Anatomical Structure")


def laterality(side: Side | None) -> CodedConcept:
    """Right, left, or both for None (CID 244)."""
    return CodedConcept(*_SIDES[side])


def temporomandibular_joint() -> CodedConcept:
    """Anatomic region of every segment."""
    return CodedConcept("53620006", "SCT", "Temporomandibular joint")


def mandibular_fossa() -> CodedConcept:
    """Name the finding site of the fossa's width and depth; SNOMED CT has no code known to us."""
    return CodedConcept("FOSSA", SCHEME, "Mandibular fossa of temporal bone")


def quantity(value: Quantity) -> CodedConcept:
    """Concept name of a measurement."""
    return CodedConcept(*_QUANTITIES[value])


def method(value: Quantity) -> CodedConcept | None:
    """How a quantity is defined, where its name alone does not say it."""
    return CodedConcept(*_METHODS[value]) if value in _METHODS else None


def site(value: Quantity) -> CodedConcept:
    """Where a quantity is measured."""
    return mandibular_fossa() if value in (Quantity.FW, Quantity.FD, Quantity.FOSSA_AREA) else temporomandibular_joint()


def landmark(value: Landmark) -> CodedConcept:
    """Name of a point that a measurement rests on."""
    return CodedConcept(_LANDMARKS[value], SCHEME, value.value)


def unit(ucum: str) -> CodedConcept:
    """UCUM unit."""
    return CodedConcept(*_UNITS[ucum])


def mean() -> CodedConcept:
    """Mark a value that has a standard deviation (CID 7464)."""
    return CodedConcept("373098007", "SCT", "Mean")


def standard_deviation() -> CodedConcept:
    """Mark a standard deviation (CID 7464)."""
    return CodedConcept("386136009", "SCT", "Standard Deviation")


def flag(value: QualityFlag) -> CodedConcept:
    """Why a number is missing or doubtful."""
    return CodedConcept(_FLAGS[value], SCHEME, value.value)


def quality() -> CodedConcept:
    """Question that a flag of a whole joint or series answers."""
    return CodedConcept("QUALITY", SCHEME, "Quality of measurements")


def quality_of(value: Quantity) -> CodedConcept:
    """Question that a flag of one quantity answers."""
    return CodedConcept(f"QUAL_{value.name}", SCHEME, f"Quality of {value.label}")


def change() -> CodedConcept:
    """Mark a group that compares two studies."""
    return CodedConcept("CHANGE", SCHEME, "Change since prior report")


def change_of(value: Quantity) -> CodedConcept:
    """Concept name of the change of a quantity: readers that ignore modifiers must not take it for a size."""
    return CodedConcept(f"CHG_{value.name}", SCHEME, f"Change of {value.label} since prior report")


def prior_report() -> CodedConcept:
    """Purpose of reference to the report that a change is counted from."""
    return CodedConcept("122075", "DCM", "Prior report for current patient")


def intended_use() -> CodedConcept:
    """Question that :func:`research_only` answers."""
    return CodedConcept("USE", SCHEME, "Intended use")


def research_only() -> CodedConcept:
    """Not a medical device."""
    return CodedConcept("RESEARCH", SCHEME, "Research use only")


def former_result() -> CodedConcept:
    """Purpose of reference to a result that this one replaces."""
    return CodedConcept("FORMER", SCHEME, "Former result of fewer images")


def procedure() -> CodedConcept:
    """Name the procedure reported on."""
    return CodedConcept("303653007", "SCT", "Computed tomography of head")


def comment() -> CodedConcept:
    """Concept name of free text."""
    return CodedConcept("121106", "DCM", "Comment")


def artificial_intelligence() -> CodedConcept:
    """Family of the algorithm (CID 7162)."""
    return CodedConcept("123110", "DCM", "Artificial Intelligence")
