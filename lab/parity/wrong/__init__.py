"""Wrong requests: made from right ones by seeded mutations, sent to a site directly and through Cascade, and compared.

``seeds`` (what is right) -> ``bodies`` and ``envelopes`` (what can be wrong with it, pure) -> ``cases`` (a seeded choice) ->
``stage`` (an account and things of its own on either side) -> ``verdict`` (same, different, or different for a reason).
"""
