"""Loss terms of generalisable distillation (Qi et al., IEEE JBHI 2024), pure functions.

The paper names its terms and draws them; their formulas were never published in code. What is
known: the two graphs of a *dual contrastive graph* (a star from an anchor to its augmented views,
and a complete graph of the views), built of the same views in both networks; and *cross
distillation*, in which a code crosses to the other network, whose header and decoder turn it into
a prediction that is compared with the teacher's. What is our own reading: cosine edges, a softmax
over the edges of a node, Kullback-Leibler divergences, temperature 0.1, equal halves of the two
cross terms.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from napari_graphflow.distillation.generalisable.distances import (
    SiteGap,
    frechet_semantic_distance,
    site_gap,
)
from napari_graphflow.distillation.logits import logits_loss
from napari_graphflow.errors import UserError

__all__ = [
    "SiteGap",
    "cross_distillation_loss",
    "dual_contrastive_graph_loss",
    "frechet_semantic_distance",
    "inter_edges",
    "inter_graph_loss",
    "intra_edges",
    "intra_graph_loss",
    "site_gap",
]

EdgeLoss = Literal["kl", "mse"]

#: Views without which a graph has nothing to compare: a softmax over one edge is always 1.
FEWEST_INTRA, FEWEST_INTER = 2, 3


def dual_contrastive_graph_loss(
    student_codes: Tensor,
    teacher_codes: Tensor,
    temperature: float = 0.1,
    edge_loss: EdgeLoss = "kl",
) -> tuple[Tensor, Tensor]:
    """Return the losses of the two graphs over an anchor and its K views.

    With ``u = z / max(|z|, 1e-8)``, see :func:`intra_graph_loss` and :func:`inter_graph_loss`.
    Only angles are compared: the codes of the two networks may differ in length.

    Parameters
    ----------
    student_codes, teacher_codes
        (B, K + 1, d) and (B, K + 1, d'); index 0 is the anchor, the others its views.
    temperature
        Softmax temperature of the edges.
    edge_loss
        ``kl`` compares the softmax over the edges of a node, ``mse`` the cosines themselves, which
        also fixes their level.

    Returns
    -------
    intra, inter
        Scalars.

    Raises
    ------
    UserError
        If K is below 3, or the codes are not of the same images and views.
    """
    return (
        intra_graph_loss(student_codes, teacher_codes, temperature, edge_loss),
        inter_graph_loss(student_codes, teacher_codes, temperature, edge_loss),
    )


def intra_graph_loss(
    student_codes: Tensor,
    teacher_codes: Tensor,
    temperature: float = 0.1,
    edge_loss: EdgeLoss = "kl",
) -> Tensor:
    """Return the loss of the star from the anchor to its K >= 2 views.

    ``e[k] = <u[0], u[k]>``, ``L = mean_b KL(softmax(e_T / tau) || softmax(e_S / tau))``.
    Parameters are those of :func:`dual_contrastive_graph_loss`.
    """
    _check(student_codes, teacher_codes, FEWEST_INTRA)
    return _compared(intra_edges(student_codes), intra_edges(teacher_codes), temperature, edge_loss)


def inter_graph_loss(
    student_codes: Tensor,
    teacher_codes: Tensor,
    temperature: float = 0.1,
    edge_loss: EdgeLoss = "kl",
) -> Tensor:
    """Return the loss of the complete graph over the K >= 3 views.

    ``r[j, k] = <u[j], u[k]>`` for ``k != j``; the loss of :func:`intra_graph_loss` for each row j,
    averaged over rows and images. Parameters are those of :func:`dual_contrastive_graph_loss`.
    """
    _check(student_codes, teacher_codes, FEWEST_INTER)
    return _compared(inter_edges(student_codes), inter_edges(teacher_codes), temperature, edge_loss)


def intra_edges(codes: Tensor) -> Tensor:
    """Return the cosines between anchor and views, (B, K), of codes (B, K + 1, d)."""
    unit = _directions(codes)
    return torch.einsum("bd,bkd->bk", unit[:, 0], unit[:, 1:])


def inter_edges(codes: Tensor) -> Tensor:
    """Return the cosines between different views, (B, K, K - 1), of codes (B, K + 1, d)."""
    unit = _directions(codes)[:, 1:]
    cosines = unit @ unit.transpose(1, 2)
    count = unit.shape[1]
    others = ~torch.eye(count, dtype=torch.bool, device=codes.device)
    return cosines[:, others].reshape(len(codes), count, count - 1)


def cross_distillation_loss(
    teacher_logits: Tensor,
    logits_of_student_code: Tensor,
    logits_of_teacher_code: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """Compare both predictions from an exchanged code with the teacher's own prediction.

    ``L = 1/2 [KL(p_T || q1) + KL(p_T || q2)]``, each the mean over images and voxels of
    ``T^2 sum_c softmax(p / T)_c log(softmax(p / T)_c / softmax(q / T)_c)``. Zero if, and only if,
    both predict the probabilities of the teacher.

    Parameters
    ----------
    teacher_logits
        p_T, (B, classes, *spatial).
    logits_of_student_code
        q1: the student's code through the teacher's header and decoder.
    logits_of_teacher_code
        q2: the teacher's code through the student's header and decoder.
    """
    terms = [
        logits_loss(logits, teacher_logits, temperature)
        for logits in (logits_of_student_code, logits_of_teacher_code)
    ]
    return torch.stack(terms).mean()


def nodes_of_batch(codes: Tensor) -> Tensor:
    """Return the codes (B, K + 1, d) of unchanged patches as views of one, (1, B + 1, d)."""
    anchors = codes[:, 0]
    return torch.cat([anchors[:1], anchors])[None]


def _check(student: Tensor, teacher: Tensor, fewest: int) -> None:
    shapes = tuple(student.shape), tuple(teacher.shape)
    if student.ndim != 3 or teacher.ndim != 3 or shapes[0][:2] != shapes[1][:2]:
        raise UserError(
            f"The student's codes have shape {shapes[0]}, the teacher's {shapes[1]}.",
            "Pass (images, anchor and views, length) of the same images and views.",
        )
    views = student.shape[1] - 1
    if views < fewest:
        raise UserError(
            f"A graph of {views} views has nothing to compare; it needs at least {fewest}.",
            f"Set views to {FEWEST_INTER} or more.",
        )


def _directions(codes: Tensor) -> Tensor:
    dtype = torch.promote_types(codes.dtype, torch.float32)
    return functional.normalize(codes.to(dtype), dim=-1, eps=1e-8)


def _compared(student: Tensor, teacher: Tensor, temperature: float, loss: EdgeLoss) -> Tensor:
    """Compare edges (..., edges of a node); gradients reach the student only."""
    teacher = teacher.detach()
    if loss == "mse":
        return (student - teacher).square().mean()
    own, target = (torch.log_softmax(edges / temperature, -1) for edges in (student, teacher))
    return (target.exp() * (target - own)).sum(-1).mean()
