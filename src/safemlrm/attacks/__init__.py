"""Attacks: a Sample becomes the Prompt that is sent. One file each.

An attack is a function `(sample, **options) -> Prompt` registered with `@attack(...)`. It is pure: the same sample and
options always give the same prompt. The caller puts the attack's Spec on the prompt.
"""
