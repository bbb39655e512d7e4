"""Runs a pipeline node by node with TFX's LocalDagRunner, to record state, time, memory and artifacts of each.

LocalDagRunner runs a whole pipeline and reports nothing. This runner gives it the pipeline once per node, with only
that node in it. TFX still does all the work (inputs, cache, execution, publishing).
"""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import Any, Protocol

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import local_dag_runner, runner_utils
from tfx.orchestration.portable import runtime_parameter_utils
from tfx.orchestration.portable.mlmd import context_lib, execution_lib
from tfx.proto.orchestration import local_deployment_config_pb2, pipeline_pb2

from pipeline.local_run.failure_reason import failure_reason
from pipeline.local_run.peak_memory import PeakMemory
from pipeline.local_run.run_record import CACHED, FAILED, RAN, ArtifactRecord, NodeFailedError, NodeRecord

_State = metadata_store_pb2.Execution.State
_OUTPUT_EVENTS = (metadata_store_pb2.Event.OUTPUT, metadata_store_pb2.Event.INTERNAL_OUTPUT)
_EXECUTION_RESULT_KEY = "__execution_result__"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retries:
    """The rules for trying a failed node again.

    Attributes:
        attempts: How many times it is tried in total.
        wait_s: The pause before the second attempt, in seconds; it doubles with each attempt.
        final_nodes: The ids of nodes that would fail the same way again, because their failure is a verdict.
        final_errors: The errors that would occur again: a wrong value stays wrong, while a network may recover.
    """

    attempts: int = 1
    wait_s: float = 0.0
    final_nodes: frozenset[str] = frozenset({"AnomalyGate", "DriftGate"})
    final_errors: tuple[type[Exception], ...] = (ValueError, TypeError, KeyError)


class Observer(Protocol):
    """An observer that is called before and after every node."""

    def node_begins(self, node_id: str, position: int, num_nodes: int) -> None:
        """Is called before node number `position` (from 1)."""

    def node_ends(self, record: NodeRecord) -> None:
        """Is called after a node, also if it failed."""


class StepwiseLocalDagRunner(local_dag_runner.LocalDagRunner):
    """A runner that runs the nodes in order and stops at the first failure."""

    def __init__(
        self,
        run_id: str,
        observer: Observer,
        uncached_nodes: frozenset[str] = frozenset(),
        retries: Retries = Retries(),
    ):
        """Makes a runner for one run.

        Args:
            run_id: The run's name in ML Metadata; must be new.
            observer: Called before and after every node.
            uncached_nodes: The ids of nodes that run even if the cache has a result.
            retries: The rules for trying a failed node again.
        """
        super().__init__()
        self._run_id = run_id
        self._observer = observer
        self._uncached_nodes = uncached_nodes
        self._retries = retries

    def run_with_ir(
        self, pipeline: pipeline_pb2.Pipeline, run_options: pipeline_pb2.RunOptions | None = None, **kwargs: Any
    ) -> None:
        """Runs the pipeline, as LocalDagRunner does.

        Raises:
            NodeFailedError: if a node fails at its last attempt; the cause is chained.
            ValueError: if `run_options` asks for a part of the pipeline.
        """
        if run_options is not None:
            raise ValueError(f"`run_options` is not supported. Received: {run_options}")
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run_id}
        )
        for position, node in enumerate(pipeline.nodes, start=1):
            if node.pipeline_node.node_info.id in self._uncached_nodes:
                node.pipeline_node.execution_options.caching_options.enable_cache = False
            self._observer.node_begins(node.pipeline_node.node_info.id, position, len(pipeline.nodes))
            self._run_node(pipeline, node)

    def _run_node(self, pipeline: pipeline_pb2.Pipeline, node: pipeline_pb2.Pipeline.PipelineOrNode) -> None:
        node_id = node.pipeline_node.node_info.id
        start, memory = time.monotonic(), PeakMemory()
        attempts = 1 if node_id in self._retries.final_nodes else self._retries.attempts
        with memory:
            for attempt in range(1, attempts + 1):
                state, outputs, failure = self._attempt(pipeline, node)
                if failure is None or attempt == attempts or _was_asked_to_stop(failure):
                    break
                if isinstance(failure.__cause__, self._retries.final_errors):
                    break
                wait_s = self._retries.wait_s * 2 ** (attempt - 1)
                logging.warning("%s Attempt %d of %d; the next in %.0f s.", failure, attempt, attempts, wait_s)
                time.sleep(wait_s)
        record = NodeRecord(
            node_id=node_id,
            state=state,
            seconds=time.monotonic() - start,
            peak_memory_mb=memory.megabytes,
            outputs=outputs,
            attempts=attempt,
        )
        self._observer.node_ends(record)
        if failure is not None:
            raise failure

    def _attempt(
        self, pipeline: pipeline_pb2.Pipeline, node: pipeline_pb2.Pipeline.PipelineOrNode
    ) -> tuple[str, dict[str, tuple[ArtifactRecord, ...]], NodeFailedError | None]:
        """Runs a node once; returns its state, its outputs, and the error if it failed."""
        node_id = node.pipeline_node.node_info.id
        error = None
        try:
            super().run_with_ir(_only(pipeline, node))
        except Exception as caught:
            error = caught
        with metadata.Metadata(_connection_config(pipeline)) as handle:
            execution = _find_execution(handle, node.pipeline_node)
            has_executor = runner_utils.extract_executor_spec(_deployment_config(pipeline), node_id) is not None
            state = FAILED if error or execution is None else _state(execution, has_executor)
            outputs = {} if state == FAILED else _outputs(handle, execution)
        failure = None
        if error:
            failure = NodeFailedError(node_id, failure_reason(error))
            failure.__cause__ = error
        elif state == FAILED:
            # TFX does not raise if a node's inputs cannot be found; it marks the execution and continues.
            result = execution.custom_properties[_EXECUTION_RESULT_KEY].string_value if execution else ""
            failure = NodeFailedError(node_id, f"its inputs were not found. {result}".strip())
        return state, outputs, failure


def _was_asked_to_stop(failure: BaseException) -> bool:
    """Returns whether a training stopped because its process must end; by name, because its module is heavy."""
    cause: BaseException | None = failure
    while cause is not None and type(cause).__name__ != "TrainingInterruptedError":
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _only(pipeline: pipeline_pb2.Pipeline, node: pipeline_pb2.Pipeline.PipelineOrNode) -> pipeline_pb2.Pipeline:
    part = pipeline_pb2.Pipeline()
    part.CopyFrom(pipeline)
    del part.nodes[:]
    part.nodes.append(node)
    return part


def _connection_config(pipeline: pipeline_pb2.Pipeline) -> metadata_store_pb2.ConnectionConfig:
    config = _deployment_config(pipeline).metadata_connection_config
    return getattr(config, config.WhichOneof("connection_config"))


def _deployment_config(pipeline: pipeline_pb2.Pipeline) -> local_deployment_config_pb2.LocalDeploymentConfig:
    return runner_utils.extract_local_deployment_config(pipeline)


def _find_execution(handle: metadata.Metadata, node: pipeline_pb2.PipelineNode) -> metadata_store_pb2.Execution | None:
    contexts = context_lib.prepare_contexts(handle, node.contexts)
    executions = execution_lib.get_executions_associated_with_all_contexts(handle, contexts)
    return max(executions, key=lambda execution: execution.id, default=None)


def _state(execution: metadata_store_pb2.Execution, has_executor: bool) -> str:
    # A Resolver has no executor: its result always comes from ML Metadata.
    complete = RAN if has_executor else CACHED
    return {_State.COMPLETE: complete, _State.CACHED: CACHED}.get(execution.last_known_state, FAILED)


def _outputs(
    handle: metadata.Metadata, execution: metadata_store_pb2.Execution
) -> dict[str, tuple[ArtifactRecord, ...]]:
    outputs: dict[str, tuple[ArtifactRecord, ...]] = {}
    for event in handle.store.get_events_by_execution_ids([execution.id]):
        if event.type in _OUTPUT_EVENTS:
            [artifact] = handle.store.get_artifacts_by_id([event.artifact_id])
            key = event.path.steps[0].key
            outputs[key] = (*outputs.get(key, ()), _artifact_record(artifact))
    return outputs


def _artifact_record(artifact: metadata_store_pb2.Artifact) -> ArtifactRecord:
    values = dict(artifact.properties) | dict(artifact.custom_properties)
    properties = {name: getattr(value, value.WhichOneof("value")) for name, value in values.items()}
    return ArtifactRecord(uri=artifact.uri, properties=properties)
