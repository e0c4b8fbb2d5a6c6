"""From a frame to the model's input tensor: the one module that training and device both call.

``spec`` reads preprocess.yaml and takes its fingerprint; the steps stand in ``decoding``,
``geometry``, ``resize`` (with ``interpolation``), ``values`` and ``vectors``; ``compiled`` makes
one fast call of them; ``trace`` shows whether two machines get the same numbers.
"""
