"""Performance model (Q-Dreamer): how many cuts, where, and on which pilot, before anything is run.

Q-Dreamer is what Pilot-Quantum (arXiv:2412.18519) calls the part that plans a cut before it runs;
the word of high-performance computing is performance model.

    pilots ──► known_pilots ──► resources, calibration     (measure: made once for a kind of pilot)
    circuit ─► recommend ─► search ─► plans ─► workload ─┐  (load: circuit_load, statevector_load)
                                                         ├─► costmodel ─► forecast ─► recommendation
                                          calibration ───┘

`workload` counts what a batch asks for and knows no seconds; `costmodel` turns counts into seconds
and knows no plan; `forecast` holds the two together for pilots, `device_forecast` for QPUs, whose
time and noise are modelled. Nothing here runs a query but `measure`.
"""
