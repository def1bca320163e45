"""Whether a policy version provably reached every engine. Silent non-delivery trains on rollouts of the wrong policy.

In: the version that was sent and what each engine answered. Out: nothing, or an error that says expected and found.
"""

from __future__ import annotations

from collections.abc import Sequence

from fundus_ray.errors import DeliveryError
from fundus_ray.types import DeliveryProof, PolicyVersion


def check_proofs(
    version: PolicyVersion, proofs: Sequence[DeliveryProof], *, engines: Sequence[str], tolerance: float
) -> None:
    """Every engine must answer once, for this version, with its hash, listed, and a probe within `tolerance` [nats].

    Raises DeliveryError naming every engine that does not, with expected and found.
    """
    faults = [fault for proof in proofs for fault in _faults(version, proof, tolerance=tolerance)]
    answered = sorted(proof.worker for proof in proofs)
    if answered != sorted(engines):
        faults.append(f"expected one proof from each of {', '.join(engines)}, got {', '.join(answered) or 'none'}")
    if faults:
        raise DeliveryError(f"policy version {version.step} is not proven to be live: {'; '.join(faults)}")


def _faults(version: PolicyVersion, proof: DeliveryProof, *, tolerance: float) -> list[str]:
    faults = []
    if proof.version != version:
        faults.append(f"answers for version {proof.version.step} ({proof.version.sha256[:12]})")
    if proof.sha256 != version.sha256:
        faults.append(f"read back sha256 {proof.sha256[:12]}, expected {version.sha256[:12]}")
    if not proof.listed:
        faults.append("its adapter is not in the engine's own list")
    if not proof.probe_error <= tolerance:  # also where it is NaN
        faults.append(
            f"probe differs from the learner by {proof.probe_error:.3g} nats, allowed {tolerance:g} "
            "(policy.probe_tolerance)"
        )
    return [f"{proof.worker}: {fault}" for fault in faults]
