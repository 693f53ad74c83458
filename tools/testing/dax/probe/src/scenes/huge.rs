// SPDX-License-Identifier: GPL-2.0

//! Blocks of 2 MiB that two files share, mapped in every way: with and without an
//! error in them. An entry of 2 MiB and entries of pages meet on the same blocks, and
//! write faults copy what a huge page maps.

use crate::scenes::prelude::*;

const LEAVES: [Leaf; 3] = [Leaf::Huge, Leaf::Small, Leaf::Split];
const HUGE: u64 = 2 << 20;
const PAGES: usize = 512;
/// The page that faults.
const PAGE: usize = 300;
/// One near it, and one that fails later.
const NEAR: usize = PAGE + 1;
const LATER: usize = 7;
/// What no page is filled with.
const STALE: u8 = b'S';

/// What a process does to the page.
#[derive(Clone, Copy)]
enum Op {
    Read,
    Write,
    /// Writes to a mapping of its own, MAP_PRIVATE, after it has read.
    Private,
}

impl Op {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Private];

    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Private => "private",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Read => "reads",
            _ => "stored",
        }
    }

    fn is_private(self) -> bool {
        matches!(self, Self::Private)
    }

    fn act(self, area: &Area) -> String {
        match self {
            Self::Read => area.load(PAGE),
            _ => area.store(PAGE),
        }
    }
}

/// Two files of 2 MiB that share their blocks.
struct Pair {
    files: [PathBuf; 2],
}

impl Pair {
    fn new(xfs: &Xfs) -> Result<Self> {
        let a = xfs.file("a", PAGES)?;
        let at = place(&a, 0)?;
        ensure!(at % HUGE == 0, "the file lies at {at:#x}");
        let b = xfs.clone_of(&a, "b")?;
        Ok(Self { files: [a, b] })
    }

    fn fsync(&self) -> Result<String> {
        let [a, b] = [open(&self.files[0], 0)?, open(&self.files[1], 0)?];
        Ok(format!("{} {}", calls::fsync(&a), calls::fsync(&b)))
    }

    /// An entry that is left behind shows when its file goes. What the blocks hold by then
    /// would show if they were used again and not written to.
    fn remove(self) -> Result<()> {
        for file in &self.files {
            open(file, 0)?.write_all_at(&[STALE; PAGES * PAGE_SIZE], 0)?;
            fs::remove_file(file)?;
        }
        Ok(())
    }
}

fn striped() -> Result<Xfs> {
    Xfs::new(&Options::striped())
}

/// Every combination of two leaves and an operation on the first file.
fn combinations() -> impl Iterator<Item = (Leaf, Leaf, Op)> {
    LEAVES.into_iter().flat_map(|own| {
        LEAVES
            .into_iter()
            .flat_map(move |other| Op::ALL.into_iter().map(move |op| (own, other, op)))
    })
}

fn row(own: Leaf, other: Leaf, op: Op) -> String {
    format!("{}/{}, {}", own.name(), other.name(), op.name())
}

scene!(HUGE_SHARE = 113 "huge-share" share: "2 MiB that two files share, both mapped, in every way";
    crashes("dax_insert_entry"));
/// Without an error. `own` is in the first file and acts, `other` is in the clone; each
/// of the two files in turn is mapped first.
fn share(_: u64) -> Result<()> {
    let xfs = striped()?;
    let pair = Pair::new(&xfs)?;
    let huge = Area::with_leaf(&pair.files[0], PAGES, Leaf::Huge, false)?;
    let faults = huge.faults();
    ensure!(faults < 8, "{faults} faults in place of one of 2 MiB");
    drop(huge);
    pair.remove()?;

    for (own, other, op) in combinations() {
        for first in [0, 1] {
            let pair = Pair::new(&xfs)?;
            let area = |n: usize| match n {
                0 => Area::with_leaf(&pair.files[0], PAGES, own, op.is_private()),
                _ => Area::with_leaf(&pair.files[1], PAGES, other, false),
            };
            let one = area(first)?;
            one.load(PAGE);
            one.load(LATER);
            let two = area(1 - first)?;
            two.load(PAGE);
            two.load(NEAR);
            let (x, y) = if first == 0 {
                (&one, &two)
            } else {
                (&two, &one)
            };
            let act = op.act(x);
            let got = [act, x.load_all_but(&[]), y.load_all_but(&[])].join(", ");
            let want = format!("{}, reads, reads", op.done());
            let when = if first == 0 { "first" } else { "second" };
            expect(&format!("{}, {when}", row(own, other, op)), &want, got)?;
            drop((one, two));
            expect_same(&pair, "0 0")?;
            pair.remove()?;
        }
    }
    Ok(())
}

scene!(HUGE_ALONE = 112 "huge-alone" alone: "2 MiB of a file that share its blocks, mapped twice";
    crashes("dax_disassociate_entry"));
/// One file, mapped twice.
fn alone(_: u64) -> Result<()> {
    let xfs = striped()?;
    for (own, other, op) in combinations() {
        let pair = Pair::new(&xfs)?;
        let file = &pair.files[0];
        let y = Area::with_leaf(file, PAGES, other, false)?;
        y.load(PAGE);
        let x = Area::with_leaf(file, PAGES, own, op.is_private())?;
        x.load(NEAR);
        // The other mapping stores to it, and what it stores must show in both.
        let act = [op.act(&x), y.store(LATER)].join(", ");
        let got = [act, x.load_all_but(&[]), y.load_all_but(&[])].join(", ");
        let want = format!("{}, stored, reads, reads", op.done());
        expect(&row(own, other, op), &want, got)?;
        drop((x, y));
        expect_same(&pair, "0 0")?;
        pair.remove()?;
    }
    Ok(())
}

/// What the files hold, and fsync() of them, if it is not as it should be.
fn expect_same(pair: &Pair, fsync: &str) -> Result<()> {
    let [a, b] = [&pair.files[0], &pair.files[1]].map(|file| xfs::intact(file, PAGES));
    let got = [a, b, pair.fsync()?].join(", ");
    let want = format!("data intact, data intact, {fsync}");
    if got != want {
        expect("files", &want, got)?;
    }
    Ok(())
}

/// Where the error is, and whether it comes before the pages are mapped.
const ERRORS: [(usize, bool, &str); 4] = [
    (PAGE, false, "on it, then mapped"),
    (PAGE, true, "on it"),
    (NEAR, false, "near it, then mapped"),
    (NEAR, true, "near it"),
];

scene!(HUGE_COW = 114 "huge-cow" cow: "the same with an error in it";
    differs("2M/2M, read: on it, then mapped", ""));
/// With an error in the page of the fault, or in another one of its 2 MiB.
fn cow(_: u64) -> Result<()> {
    let xfs = striped()?;
    let mut checks = 0;
    for (own, other, op) in combinations() {
        for (hit, mapped, place) in ERRORS {
            let pair = Pair::new(&xfs)?;
            let areas = || -> Result<[Area; 2]> {
                let x = Area::with_leaf(&pair.files[0], PAGES, own, op.is_private())?;
                let y = Area::with_leaf(&pair.files[1], PAGES, other, false)?;
                for area in [&x, &y] {
                    area.load(PAGE);
                    area.load(NEAR);
                }
                Ok([x, y])
            };
            let early = mapped.then(areas).transpose()?;
            let bad = Bad::hit(&pair.files[0], hit)?;
            checks += 1;
            let [x, y] = early.map_or_else(
                || {
                    let x = Area::with_leaf(&pair.files[0], PAGES, own, op.is_private())?;
                    let y = Area::with_leaf(&pair.files[1], PAGES, other, false)?;
                    Ok::<_, anyhow::Error>([x, y])
                },
                Ok,
            )?;
            let act = op.act(&x);
            let got = [
                act,
                x.load(hit),
                x.load_all_but(&[hit]),
                y.load(hit),
                y.load_all_but(&[hit]),
            ]
            .join(", ");
            let done = match hit {
                PAGE => refused(PAGE),
                _ => op.done().into(),
            };
            let lost = refused(hit);
            let want = format!("{done}, {lost}, reads, {lost}, reads");
            expect(&format!("{}: {place}", row(own, other, op)), &want, got)?;
            expect("fsync", "0 0", pair.fsync()?)?;

            // One more in the same 2 MiB finds both.
            if mapped && hit == NEAR {
                Bad::hit(&pair.files[1], LATER)?;
                checks += 1;
                let rest = x.load_all_but(&[hit, LATER]);
                let other_rest = y.load_all_but(&[hit, LATER]);
                let got = [x.load(LATER), rest, y.load(LATER), other_rest];
                let lost = refused(LATER);
                let want = format!("{lost}, reads, {lost}, reads");
                expect("and a second one", &want, got.join(", "))?;
            }
            drop((x, y));
            pair.remove()?;
            expect("written: bad", "none", bad.marks()?)?;
        }
    }
    note(&format!("{checks} machine checks"))?;
    Ok(())
}
