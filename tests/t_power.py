#!/usr/bin/env python3
"""The real disk: power cuts, a kill storm, a full disk, a disk that fails: the short forms. power.py says how it is
done and has the long ones (make power storm diskfull diskerrors)."""
from power import *

SEED = int(os.environ.get("POSTERN_SEED", random.randrange(1 << 30)))


def t_cuts():
    """Power cuts on ext4: what got 250 is on the disk."""
    cuts = Cuts(images_folder(), random.Random(SEED))
    cuts.run(12, seconds=10, each=6)
    ok(cuts.good() and cuts.total["cuts"] >= 3 and cuts.total["checked"] > 20, f"seed {SEED}: {cuts.report()}", *cuts.stories[:3])


def t_full_cuts():
    """Power cuts on a disk that is full, and starts on it."""
    cuts = FullCuts(images_folder(), random.Random(SEED))
    cuts.run(8, seconds=10, each=4)
    ok(cuts.good() and cuts.total["cuts"] >= 2 and cuts.total["checked"] > 2, f"seed {SEED}: {cuts.report()}", *cuts.stories[:3])


def t_mutant():
    """The same with a queue whose syncs do nothing: this test is able to fail."""
    cuts = Cuts(images_folder(), random.Random(SEED), mutant="queue")
    cuts.run(3, seconds=6, each=3)
    ok(cuts.total["lost"] and cuts.total["lies"], f"without syncs mail is lost: {cuts.report()}")


def t_storm():
    """kill -9, SIGSTOP and SIGCONT of all programs at random."""
    storm = Storm(random.Random(SEED))
    verdict = storm.run(4)
    ok(verdict and verdict.checked > 20, f"seed {SEED}: {storm.report()}", verdict.story())
    same(storm.local_twice, [], "no second copy in a Maildir")
    ok(storm.empty, "both queues are empty in the end", storm.mx.log()[-2000:])


def t_full():
    """A full disk, and one without inodes."""
    full_disk(images_folder())


def t_inodes():
    full_disk(images_folder(), "inodes")


def t_suddenly():
    full_suddenly(images_folder(), 1)


def t_errors():
    """Writes and syncs that fail."""
    disk_errors(images_folder(), *ERRORS[2], seconds=1)


if __name__ == "__main__":
    why = can_mount()
    if why:
        skip_all(why)
    main(t_cuts, t_full_cuts, t_mutant, t_storm, t_full, t_inodes, t_suddenly, t_errors)
