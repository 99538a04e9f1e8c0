"""The fossa: roof, articular eminence, postglenoid process, rims and the plane of its opening."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import FossaNotFound
from negvol_pacs.joint.condyle import Condyle, find_condyle
from negvol_pacs.joint.frame import Frame, Plane, make_frame, unit
from negvol_pacs.joint.mesh import Mesh
from negvol_pacs.joint.rays import Rays
from negvol_pacs.joint.relief import REACH_MM, STEP_MM, Profile, cut, refine_crest, walk_to_rim

COVER_MM = 11.0  # bone this near to the condyle's centre covers it
COVER_TILT_DEG = 10.0  # the cover's mean direction leans so far back from the normal of the opening
LEAST_COVER = 0.02
MAX_TURNS = 12
LEVEL_DEG = 0.02
SHALLOWEST_MM = 1.5  # a fossa less deep than this has no landmarks
DEEPEST_LIP_MM = 4.0  # a posterior rim so far below the eminence is the tympanic bone, not the postglenoid process
LEAST_LIP_MM = 1.0
LIP_LEVEL_MM = 0.2
SUMMIT_MM = 1.4  # a summit of the roof is the highest point this far around
ROOF_REACH_MM = 14.0
ROOF_DRIFT_MM = 6.0  # the roof of a more lateral section is sought this near to the middle one's
LATERAL_STEP_MM = 0.8
LATERAL_REACH_MM = 12.0
MAX_ROLL_DEG = 20.0

Point = NDArray[np.float64]


@dataclass(frozen=True)
class Fossa:
    """Landmarks of the fossa of one side, LPS mm.

    Attributes
    ----------
    frame
        Axes whose superior direction is perpendicular to the line from eminence to postglenoid process.
    eminence, postglenoid, roof
        In the sagittal plane through the middle of the condyle.
    opening
        Plane of the opening: contains the line from eminence to postglenoid process and rolls
        about it with the medial and lateral rims (least squares); the normal points into the fossa.
    postglenoid_is_lip
        False when no free lower edge of the postglenoid process was found; the posterior
        wall at the height of the eminence stands for it.
    """

    frame: Frame
    eminence: Point
    postglenoid: Point
    roof: Point
    opening: Plane
    postglenoid_is_lip: bool

    @property
    def width(self) -> float:
        """FW, mm: eminence to postglenoid process."""
        return float(np.linalg.norm(self.eminence - self.postglenoid))

    @property
    def depth(self) -> float:
        """FD, mm: from the line of the width to the roof, perpendicular."""
        line = unit(self.eminence - self.postglenoid)
        to_roof = self.roof - self.postglenoid
        return float(np.linalg.norm(to_roof - (to_roof @ line) * line))


def find_fossa(bone: Rays, mc: Mesh, centre: Point, left: Point, side: Side) -> tuple[Fossa, Condyle]:
    """Find the landmarks of fossa and condyle.

    The line from eminence to postglenoid process touches both from below, so it does not
    depend on the head's pitch. It is found by turning the axes until the line is level.

    Parameters
    ----------
    bone
        Temporal bone.
    mc
        Condyle, LPS mm.
    centre
        Centre of the condylar head, LPS mm.
    left
        Transverse axis of the head.
    side
        Side of the patient.

    Raises
    ------
    FossaNotFound
        If there is no roof over the condyle, no eminence in front of it or no wall behind it.
    """
    frame = make_frame(left, _cover_direction(bone, centre, left))
    for _ in range(MAX_TURNS):
        condyle = find_condyle(mc, frame, frame.lateral(side))
        underside = _Underside(bone, condyle.middle, frame, side)
        lip = underside.lip()
        if lip is None:
            break
        turned = make_frame(left, np.cross(left, underside.profile.point(*lip) - underside.eminence_point))
        moved = np.degrees(np.arccos(np.clip(turned.superior @ frame.superior, -1, 1)))
        frame = turned
        if moved < LEVEL_DEG:
            break
    underside = _Underside(bone, condyle.middle, frame, side)
    front, back, roof = underside.eminence_point, underside.wall_point(), underside.roof_point
    opening = Plane((front + back) / 2, underside.opening_normal(front, back))
    return Fossa(frame, front, back, roof, opening, lip is not None), condyle


def _cover_direction(bone: Rays, centre: Point, left: Point) -> Point:
    """Return the mean direction from the condyle to the bone that covers it, leant forward to the fossa's axis."""
    n = 2000
    i = np.arange(n) + 0.5
    polar, turn = np.arccos(1 - 2 * i / n), np.pi * (1 + np.sqrt(5)) * i
    sphere = np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], axis=1)
    covered = bone.distance(centre, sphere) < COVER_MM
    if covered.mean() < LEAST_COVER:
        raise FossaNotFound("There is no bone over the condyle.")
    try:
        frame = make_frame(left, sphere[covered].mean(axis=0))
    except ValueError as error:
        raise FossaNotFound("The bone around the condyle has no opening.") from error
    lean = np.radians(COVER_TILT_DEG)
    return np.asarray(np.cos(lean) * frame.superior + np.sin(lean) * frame.anterior)


class _Underside:
    """The temporal bone seen from below in given axes; positions count to anterior, heights to superior.

    Raises
    ------
    FossaNotFound
        If the middle sagittal plane has no roof or no eminence.
    """

    def __init__(self, bone: Rays, middle: Point, frame: Frame, side: Side) -> None:
        self._bone, self._frame, self._outward = bone, frame, frame.lateral(side)
        self.profile = cut(bone, middle, frame.anterior, frame.superior)
        self.roof = _find_roof(self.profile)
        eminence = walk_to_rim(self.profile, self.roof, 1)
        if eminence is None or self.profile.at(self.roof) - eminence[1] < SHALLOWEST_MM:
            raise FossaNotFound("There is no articular eminence in front of the fossa.")
        self.eminence = eminence

    @property
    def eminence_point(self) -> Point:
        """Lowest point of the eminence, LPS mm."""
        return self.profile.point(*self.eminence)

    @property
    def roof_point(self) -> Point:
        """Highest point of the roof, LPS mm."""
        return self.profile.point(self.roof, self.profile.at(self.roof))

    def lip(self) -> tuple[float, float] | None:
        """Return position and height of the postglenoid process's lowest point, mm.

        Where the tympanic bone hides it in the middle plane, it is sought further lateral,
        where the meatus opens behind it.
        """
        if (lip := self._lip_of(self.profile, self.roof)) is not None:
            return lip
        run: list[tuple[float, float]] = []
        for offset in np.arange(LATERAL_STEP_MM, LATERAL_REACH_MM, LATERAL_STEP_MM):
            origin = self.profile.origin + offset * self._outward
            beside = cut(self._bone, origin, self._frame.anterior, self._frame.superior)
            near = (np.abs(beside.position - self.roof) < ROOF_DRIFT_MM) & np.isfinite(beside.height)
            top = float(beside.position[np.where(near, beside.height, -np.inf).argmax()])
            found = self._lip_of(beside, top) if near.any() else None
            if found is not None:
                run.append(found)
            elif len(run) >= 3:
                break
            else:
                run = []
        if len(run) < 2:
            return None
        position, height = np.median(np.array(run), axis=0)
        return float(position), float(height)

    def _lip_of(self, profile: Profile, roof: float) -> tuple[float, float] | None:
        lip = walk_to_rim(profile, roof, -1)
        too_deep = lip is not None and lip[1] < self.eminence[1] - DEEPEST_LIP_MM
        return None if lip is None or too_deep or profile.at(roof) - lip[1] < LEAST_LIP_MM else lip

    def wall_point(self) -> Point:
        """Return the posterior wall where it first comes down to the eminence's level, or its own lip there, LPS mm."""
        profile, level = self.profile, self.eminence[1]
        order = np.flatnonzero(profile.position <= self.roof)[::-1]
        below = np.flatnonzero(profile.height[order] <= level)
        crossing = profile.position[order[below[0]]] if len(below) else -np.inf
        lip = walk_to_rim(profile, self.roof, -1)
        if lip is not None and lip[1] > level - LIP_LEVEL_MM and lip[0] >= crossing - 2:
            return profile.point(*lip)
        if not len(below) or below[0] == 0:
            raise FossaNotFound("There is no posterior wall behind the fossa.")
        over, under = order[below[0] - 1], order[below[0]]
        share = (profile.height[over] - level) / (profile.height[over] - profile.height[under])
        return profile.point(profile.position[over] + share * (profile.position[under] - profile.position[over]), level)

    def opening_normal(self, front: Point, back: Point) -> Point:
        """Return the normal of the plane through ``front`` and ``back`` that rolls with the side rims."""
        across = cut(self._bone, self.roof_point, self._outward, self._frame.superior)
        rims = [walk_to_rim(across, 0.0, step) for step in (1, -1)]
        points = [across.point(*rim) - (front + back) / 2 for rim in rims if rim is not None]
        if len(points) < 2:
            return self._frame.superior
        x, y = np.array(points) @ self._outward, np.array(points) @ self._frame.superior
        limit = np.tan(np.radians(MAX_ROLL_DEG))
        slope = float(np.clip((x @ y) / (x @ x), -limit, limit))  # least squares about the line front-back
        return unit(self._frame.superior - slope * self._outward)


def _find_roof(profile: Profile) -> float:
    """Return the position of the summit with the highest wall in front of and behind it, mm."""
    height = np.where(np.isfinite(profile.height), profile.height, -np.inf)
    around = round(SUMMIT_MM / STEP_MM)
    peak = maximum_filter1d(height, 2 * around + 1)
    inside = (np.abs(profile.position) < ROOF_REACH_MM) & np.isfinite(height)
    summits = [int(i) for i in np.flatnonzero(inside & (height == peak))]
    if not summits:
        raise FossaNotFound("The fossa has no roof.")

    def prominence(summit: int) -> float:
        position = float(profile.position[summit])
        walls = [walk_to_rim(profile, position, step) for step in (1, -1)]
        depth = [height[summit] - wall[1] if wall else REACH_MM for wall in walls]
        return float(min(*depth, 6.0)) - 0.2 * abs(position)  # of two deep ones, the one over the condyle

    return refine_crest(profile, max(summits, key=prominence))[0]
