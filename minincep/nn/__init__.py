"""Layers, and the words that networks are written in."""

from minincep.nn.module import Module as Module
from minincep.nn.module import Parameter as Parameter
