"""LeRobot data sets: references to the frames of their episodes. Their files are read, without lerobot."""

from __future__ import annotations

from mediaref_ursa.lerobot._decode import FrameTimestampError, decode_video_frames
from mediaref_ursa.lerobot._refs import EpisodeProblem, LeRobotRefs

__all__ = ["EpisodeProblem", "FrameTimestampError", "LeRobotRefs", "decode_video_frames"]
