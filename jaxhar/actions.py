"""Action classes as data: the label sets of the data sets the networks were published on."""

#: Penn Action, in the order of the authors' class indices (alphabetical).
PENN = (
    "baseball_pitch",
    "baseball_swing",
    "bench_press",
    "bowl",
    "clean_and_jerk",
    "golf_swing",
    "jump_rope",
    "jumping_jacks",
    "pullup",
    "pushup",
    "situp",
    "squat",
    "strum_guitar",
    "tennis_forehand",
    "tennis_serve",
)

#: Spellings met in label files and in the data set's own index page, to ours.
PENN_ALIASES = {
    "bowling": "bowl",
    "jumping_jack": "jumping_jacks",
    "jump_roping": "jump_rope",
    "pull_up": "pullup",
    "pull_ups": "pullup",
    "pullups": "pullup",
    "push_up": "pushup",
    "push_ups": "pushup",
    "pushups": "pushup",
    "sit_up": "situp",
    "sit_ups": "situp",
    "situps": "situp",
    "squats": "squat",
    "strumming_guitar": "strum_guitar",
}
