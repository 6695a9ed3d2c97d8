"""The device that a training runs on, and what time, memory and energy it took there."""
