"""Defenses at inference time. One file each.

A defense is an async function `(prompt, ask, **options) -> Response` registered with `@defense(...)`: it may change the
prompt, ask more than once, or not at all. It never imports a concrete model. Several are combined with `+`, the
first named being the outermost.
"""
