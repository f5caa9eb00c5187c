"""Nights decoded on an Apache Beam runner: on Flink, Spark, Dataflow, or Beam's own processes.

One night is one element. Each is written into the store of decoded nights, which must lie on a file
system that all workers and this process see; what remains of a build is done in this process, so
that the clips are those of a local build, byte for byte. A night that is in the store is not
decoded again: a build that was stopped goes on, whoever did the part before.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from input_pipeline.errors import UserError
from input_pipeline.files import write_json


def beam_map(
    function: Callable[[Any], str | None], items: Sequence[Any], store: Path, options: Sequence[str]
) -> Iterator[tuple[int, str | None]]:
    """Calls `function` on every item on a Beam runner; then yields (position, result) of each.

    A runner may call it twice on one item. Workers need this package, and see `store` under the
    same path.

    Args:
        function: importable; its results are texts or None.
        store: a folder on a file system that all workers share.
        options: of the pipeline, such as `["--runner=DirectRunner", "--direct_num_workers=8"]`.

    Raises:
        UserError: Apache Beam is not installed; a result did not reach the store.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise UserError(
            "--runner needs Apache Beam, which wants an environment of its own: "
            "pip install '.[beam]' there"
        ) from None
    if not items:
        return
    store.mkdir(parents=True, exist_ok=True)
    # Results come back as files: runners on other machines have no other way to this process.
    results = Path(tempfile.mkdtemp(prefix=".results-", dir=store))
    try:
        call = _Call(function, results)
        with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
            numbered = pipeline | "nights" >> beam.Create(list(enumerate(items)))
            # Without it a runner may fuse both steps and decode all nights on one worker.
            spread = numbered | "spread" >> beam.Reshuffle()
            _ = spread | "decode" >> beam.Map(call)
        for position in range(len(items)):
            path = results / f"{position}.json"
            if not path.is_file():
                raise UserError(
                    f"{store}: no result of night {position + 1} of {len(items)} here; expected a "
                    "file system that the runner's workers and this process share"
                )
            yield position, json.loads(path.read_text())["result"]
    finally:
        shutil.rmtree(results, ignore_errors=True)


class _Call:
    """What a worker does with one element; pickled by name and value."""

    def __init__(self, function: Callable[[Any], str | None], results: Path) -> None:
        self.function, self.results = function, results

    def __call__(self, element: tuple[int, Any]) -> int:
        position, item = element
        write_json(self.results / f"{position}.json", {"result": self.function(item)})
        return position
