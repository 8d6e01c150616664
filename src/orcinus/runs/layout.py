"""The file names of a run on disk. No other module spells them.

runs/ledger.sqlite   runs/batches/                      shared by the runs of a workspace
runs/NAME/           recipe.yaml  student  report.html  .lock  progress.json
runs/NAME/probe-3f2a91c0/   step.json  attempts.parquet  _done
runs/NAME/train-91c0ab12/   loss.jsonl  stage-1/ {model files, _done}  stage-2/ …
"""

# --- a workspace

LEDGER = "ledger.sqlite"
"""Every paid call of all runs beside it."""
BATCHES = "batches"
"""Folder of the batches that a provider is working on."""

# --- a run

RECIPE = "recipe.yaml"
"""Copy of the recipe that the run was last started with."""
STUDENT = "student"
"""Link to the folder of the trained student: a plain Hugging Face model."""
ORIGIN = ".origin"
"""The recipe's own folder, which contains the modules that the recipe names."""
LOCK = ".lock"
"""Held by the process that works on the run; contains its process id."""
PROGRESS = "progress.json"
"""Progress of the current phase. It exists while the run is running, or after it was killed."""
DIAGNOSIS = "diagnosis.json"
"""Findings of ``orcinus diagnose``."""
DIAGNOSIS_PAGE = "diagnosis.md"
"""The same findings, to read."""


def report(suffix: str) -> str:
    """Return the name of a run's report in one format: ``html`` and ``json`` full, ``md`` short."""
    return "summary.md" if suffix == "md" else f"report.{suffix}"


# --- every step

STEP = "step.json"
"""Configuration, inputs, summary, versions and seconds of a finished step."""
DONE = "_done"
"""Marks a step, or a training stage, as finished. Written last."""

# --- questions: author, sample, select


def authored(number: int) -> str:
    """Return the name of the rows of one authored task; the recipe's tasks count from 0."""
    return f"authored-{number}.parquet"


def waiting(number: int, check: str) -> str:
    """Return the name of an authored task's drafts that passed a check, while ``author`` runs."""
    return f"waiting-{number}-{check}.parquet"


EXAMPLES = "examples.parquet"
"""The examples and their splits."""
USABLE = "usable.arrow"
"""Examples that wait for their split while ``sample`` runs."""
TEXTS = "texts.arrow"
"""Lectures that wait for the end of the table of examples while ``sample`` runs."""
DROPPED = "dropped.parquet"
"""The questions left out by ``author``, ``sample`` and ``select``, with reasons."""

# --- answers: probe, select, teach, rehearse, evaluate, diagnose

ATTEMPTS = "attempts.parquet"
"""Attempts and verdicts of a step that asks one model."""


def attempts(name: str | int) -> str:
    """Return the name of the attempts of one arm (``after``), benchmark or diagnosed student."""
    return f"attempts-{name}.parquet"


def attempts_of_turn(benchmark: str, turn: int) -> str:
    """Return the name of the attempts at one turn of a benchmark's conversations."""
    return f"attempts-{benchmark}-turn{turn}.parquet"


# --- assign and skills

ASSIGNMENTS = "assignments.parquet"
"""The strategy of each group, with its evidence."""
GROUPS = "groups.parquet"
"""The group of each example, where groups are finer than tasks."""
PSEUDO_LABELS = "teacher.parquet"
"""The teacher's attempts at examples without a reference, from which pseudo-labels are made."""
TRIAL_RESULTS = "trials.json"
"""What each trial student of the step ``trial`` learned from, and how well it answered."""
CONFIRMATION = "confirm.parquet"
"""Fresh attempts that confirm the chosen strategies."""
SKILLS = "skills.json"
"""The skills that were drafted, with their trial scores."""


def skills_written(number: int) -> str:
    """Return the name of the teacher's drafts of skills in one round."""
    return f"written-{number}.parquet"


def skills_tried(number: int) -> str:
    """Return the name of the student's attempts with the candidates of one generation."""
    return f"tried-{number}.parquet"


def skills_tested(number: int) -> str:
    """Return the name of the student's attempts with the drafts of one round."""
    return f"tested-{number}.parquet"


# --- curate, rehearse and erase

KEPT = "kept.parquet"
"""The traces that ``curate`` keeps."""
DROPS = "drops.parquet"
"""The traces that ``curate`` drops, with the filter and its reason."""
PASSED = "passed.parquet"
"""Traces that pass the filters and wait for the quality classifier; deleted afterwards."""
REHEARSALS = "rehearsals.parquet"
"""By taught question, how many of the student's answers came and were right."""
LESSONS = "lessons.parquet"
"""The rows that the student is trained on."""
PAIRS = "pairs.parquet"
"""Right lessons, each followed by a wrong answer to its question, for ``prefer`` stages."""
LABELS = "labels.parquet"
"""Right lessons, then the student's wrong answers, for ``prefer`` stages without pairs."""

# --- create and train

MODEL = "model"
"""Folder of a student made from scratch."""
LOSS = "loss.jsonl"
"""One line for each logged optimizer step."""
PROMPTED = "prompted.parquet"
"""The lessons under their strategies' messages, which the teacher of an on-policy stage reads."""
TRAINED = "orcinus.json"
"""In a student's folder: the system message of its training, and the hash of its weights."""
ANCHORS = "anchors.parquet"
"""Questions of the probe split that an objective compares lessons with."""
JOB = "job.json"
"""The training job, for its worker processes."""
TRIALS = "trials"
"""Folder of the trial students that choose a group's strategy or a stage's share."""


def trial(wave: int, number: int) -> str:
    """Return the folder of one trial student's files; the strategies are numbered from 0."""
    return f"wave-{wave}-strategy-{number}"


def stage(number: int) -> str:
    """Return the folder of a training stage, counted from 1: a plain Hugging Face model."""
    return f"stage-{number}"


def rehearsal(number: int) -> str:
    """Return the folder of the answers and lessons of the student that begins a stage."""
    return f"rehearsal-{number}"


def mix(number: int) -> str:
    """Return the name of the share chosen for a stage, with the trials' results."""
    return f"mix-{number}.json"


# --- a stage's tokenized lessons (removed when the stage is done)

TOKENS = "tokens.u32"
"""All token ids in a row, uint32."""
TOKEN_INDEX = "index.npy"
"""For each lesson: offset, length and prompt length, int64."""
LESSON_WEIGHTS = "weights.npy"
"""For each lesson: its weight in the loss, float32."""
LESSON_NUMBERS = "evidence.npz"
"""For each lesson: the numbers that the objective asked for, float32."""
REFERENCE = "reference.npy"
"""For each lesson: its mean log-probability under the student before the stage, float32."""


def token_numbers(name: str) -> str:
    """Return the name of the numbers that each response token has, float32, by their name."""
    return f"token-{name}.f32"


LESSON_IDS = "ids.parquet"
"""For each lesson: its id."""
TOKEN_FACTS = "facts.json"
"""The number of lessons that were too long."""

# --- evaluate and report

SCORES = "scores.json"
"""All scores of an evaluation, with intervals and comparisons."""
MODEL_CARD = "model-card.md"
"""The student's model card, copied to its folder as ``README.md``."""
STUDENT_CARD = "README.md"
"""The model card in the student's folder."""


def retention(arm: str) -> str:
    """Return the name of the attempts of one arm at the retention tasks."""
    return f"retention-{arm}.parquet"


def decided(name: str) -> str:
    """Return the name of the answers that voting or search settled on, for one arm or benchmark."""
    return f"decided-{name}.parquet"


def benchmark_items(benchmark: str) -> str:
    """Return the name of the items of one benchmark."""
    return f"items-{benchmark}.parquet"
