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

#: Human3.6M's activities in the order of the authors' sequence names, which count them from a02.
H36M = (
    "directions",
    "discussion",
    "eating",
    "greeting",
    "phoning",
    "posing",
    "purchases",
    "sitting",
    "sitting_down",
    "smoking",
    "taking_photo",
    "waiting",
    "walking",
    "walking_dog",
    "walking_together",
)

#: The same in the order of H36M-Toolbox and of the data set's own files, which count from act_02 and sort otherwise.
H36M_TOOLBOX = (
    "directions",
    "discussion",
    "eating",
    "greeting",
    "phoning",
    "taking_photo",
    "posing",
    "purchases",
    "sitting",
    "sitting_down",
    "smoking",
    "waiting",
    "walking_dog",
    "walking",
    "walking_together",
)
