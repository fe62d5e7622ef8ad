"""What the notebooks share: the set-up line, figures with alternative text, and the checks of the exercises."""

from gsa_utils.lessons.built import built, keep
from gsa_utils.lessons.lesson_01 import check_alignment, check_one_map
from gsa_utils.lessons.lesson_02 import check_compress, check_data_matrix
from gsa_utils.lessons.lesson_03 import check_attention, check_auroc, check_sgd_step, check_training
from gsa_utils.lessons.lesson_04 import check_guess, check_planted
from gsa_utils.lessons.lesson_05 import check_corrected, check_shared_pooling
from gsa_utils.lessons.lesson_06 import check_blank, check_chance, check_settled, check_surest_mistake
from gsa_utils.lessons.lesson_07 import check_chosen_scores, check_corrected_p, check_smallest_shown
from gsa_utils.lessons.lesson_08 import check_pointing_game, check_without
from gsa_utils.lessons.lesson_09 import check_add_batch, check_network_seconds
from gsa_utils.lessons.lesson_10 import check_best_offset, check_verdict
from gsa_utils.lessons.notebook import set_up, show

__all__ = [
    "built",
    "check_add_batch",
    "check_alignment",
    "check_attention",
    "check_auroc",
    "check_best_offset",
    "check_blank",
    "check_chance",
    "check_chosen_scores",
    "check_compress",
    "check_corrected",
    "check_corrected_p",
    "check_data_matrix",
    "check_guess",
    "check_network_seconds",
    "check_one_map",
    "check_planted",
    "check_pointing_game",
    "check_settled",
    "check_sgd_step",
    "check_shared_pooling",
    "check_smallest_shown",
    "check_surest_mistake",
    "check_training",
    "check_verdict",
    "check_without",
    "keep",
    "set_up",
    "show",
]
