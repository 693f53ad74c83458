// SPDX-License-Identifier: GPL-2.0

//! xfstests on DAX, with reflink and reverse mapping.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{bail, ensure, Result};
use clap::ValueEnum;
use fs_err as fs;
use regex_lite::Regex;

use super::report::report;
use super::{at_once, both, check, guests, kernel, Progress};
use crate::ktap::{Test, Verdict};
use crate::lab::{Lab, Side};
use crate::program::output;
use crate::qemu::Platform;
use crate::vm::{self, Disk, Outcome, Vm};

/// Run xfstests, which foreign.sh has built, on the stock and on the patched kernel
#[derive(clap::Args)]
pub struct Args {
    /// What the tests run on
    #[arg(long, value_enum, default_value_t)]
    on: On,
    /// The stock kernel runs only what does not pass on the patched one
    #[arg(long)]
    quick: bool,
    /// Seconds after which a test has hung
    #[arg(long, default_value_t = 1800)]
    limit: u64,
    /// CPUs of each of the two guests
    #[arg(long, default_value_t = 1)]
    cpus: u32,
    /// What check gets: groups, tests
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    check: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum On {
    /// XFS with reflink and rmapbt
    #[default]
    Xfs,
    /// Its files are on a realtime device with rtgroups
    Realtime,
    /// It is on mapped devices
    Linear,
    Ext4,
}

impl On {
    fn suite(self) -> &'static str {
        match self {
            Self::Xfs => "xfstests",
            Self::Realtime => "xfstests-realtime",
            Self::Linear => "xfstests-linear",
            Self::Ext4 => "xfstests-ext4",
        }
    }

    /// What follows the setup.
    fn script(self) -> &'static str {
        match self {
            Self::Xfs => PLAIN,
            Self::Realtime => REALTIME,
            Self::Linear => LINEAR,
            Self::Ext4 => EXT4,
        }
    }
}

/// Bytes for the results, and for what dm-log-writes records.
const RESULTS: u64 = 1 << 30;
const LOG_WRITES: u64 = 4 << 30;

/// The disks: /dev/vdb has the suite, vdc takes the results, vdd is for dm-log-writes.
const SETUP: &str = r#"
mkdir -p /mnt/test /mnt/scratch /mnt/results /xfstests
mount /dev/vdb /xfstests && mount /dev/vdc /mnt/results && cd /xfstests || exit
# Tools of the user's own.
[ ! -d bin ] || cp bin/* /usr/sbin || exit
for user in fsgqa fsgqa2 123456-fsgqa; do
    useradd --badname --user-group --create-home $user 2>/dev/null || exit
done
hostname lab
# There is no udevd to wait for, nor to make devices.
rm -f /usr/bin/udevadm
export DM_DISABLE_UDEV=1
cat >/tmp/config <<'END'
export FSTYP=xfs
export TEST_DEV=/dev/pmem0 TEST_DIR=/mnt/test
export SCRATCH_DEV=/dev/pmem1 SCRATCH_MNT=/mnt/scratch
export LOGWRITES_DEV=/dev/vdd RESULT_BASE=/mnt/results
export MOUNT_OPTIONS='-o dax=always' TEST_FS_MOUNT_OPTS='-o dax=always'
END
export HOST_OPTIONS=/tmp/config
"#;

const PLAIN: &str = r#"
echo "export MKFS_OPTIONS='-m reflink=1,rmapbt=1'" >>/tmp/config
mkfs.xfs -q -f -m reflink=1,rmapbt=1 /dev/pmem0 || exit
"#;

/// Reflink on a realtime device takes rtgroups, and these take metadir.
const REALTIME: &str = r#"
options='-m reflink=1,rmapbt=1,metadir=1 -d rtinherit=1'
cat >>/tmp/config <<END
export MKFS_OPTIONS='$options'
export USE_EXTERNAL=yes TEST_RTDEV=/dev/pmem2 SCRATCH_RTDEV=/dev/pmem3
END
mkfs.xfs -q -f $options -r rtdev=/dev/pmem2 /dev/pmem0 || exit
"#;

const LINEAR: &str = r#"
for n in 0 1; do
    echo "0 $(blockdev --getsz /dev/pmem$n) linear /dev/pmem$n 0" |
        dmsetup create pmem$n || exit
done
dmsetup mknodes
sed -i 's,/dev/pmem,/dev/mapper/pmem,' /tmp/config
echo "export MKFS_OPTIONS='-m reflink=1,rmapbt=1'" >>/tmp/config
mkfs.xfs -q -f -m reflink=1,rmapbt=1 /dev/mapper/pmem0 || exit
"#;

const EXT4: &str = r#"
sed -i 's/FSTYP=xfs/FSTYP=ext4/' /tmp/config
echo "export MKFS_OPTIONS='-b 4096'" >>/tmp/config
mkfs.ext4 -q -F -b 4096 /dev/pmem0 || exit
"#;

struct Suite<'a> {
    lab: &'a Lab,
    name: &'static str,
    args: &'a Args,
}

pub fn run(lab: &Lab, args: &Args) -> Result<u8> {
    let name = args.on.suite();
    let suite = Suite { lab, name, args };
    ensure!(
        suite.image().is_file(),
        "{} is missing: make xfstests XFSTESTS=path builds it",
        suite.image().display()
    );
    let log = lab.build("xfstests/log-writes.img");
    fs::File::create(&log)?.set_len(LOG_WRITES)?;
    let version = fs::read_to_string(lab.build("xfstests/version"))?;
    println!(
        "xfstests {}, check {}",
        version.trim(),
        args.check.join(" ")
    );
    let names = suite.list()?;
    let progress = Progress::new(names.len());
    if !args.quick {
        return both(lab, name, &names, &|side| {
            guests::side(&suite, side, "", &names, &progress)
        });
    }
    let patched = suite.halves(Side::Patched, &names, &progress)?;
    let rest = (patched.iter()).filter(|test| test.verdict != Verdict::Passed);
    let rest: Vec<_> = rest.map(|test| test.name.clone()).collect();
    let stock = suite.halves(Side::Stock, &rest, &Progress::new(rest.len()))?;
    report(lab, name, &names, &stock, &patched)
}

impl Suite<'_> {
    fn image(&self) -> PathBuf {
        self.lab.build("xfstests/xfstests.img")
    }

    /// The tests that check's arguments stand for.
    fn list(&self) -> Result<Vec<String>> {
        let words = [&["-n".into()][..], &self.args.check].concat();
        let outcome = self.boot("list", Side::Patched, &words, &mut |_| ())?;
        let lines = outcome.output.iter();
        let names: Vec<_> = lines
            .filter_map(|line| check::name(line.trim()))
            .map(String::from)
            .collect();
        if names.is_empty() {
            bail!(
                "check has no such tests: {}",
                outcome.output.last().map_or("it says nothing", |l| l)
            );
        }
        Ok(names)
    }

    /// Runs every other test in a guest of its own, which makes two guests.
    fn halves(&self, side: Side, names: &[String], progress: &Progress) -> Result<Vec<Test>> {
        let half = |n: usize| -> Vec<_> { names.iter().skip(n).step_by(2).cloned().collect() };
        let run = |n: usize| guests::side(self, side, ["a", "b"][n], &half(n), progress);
        Ok(at_once(run)?.concat())
    }

    /// check in a guest; its results go to the folder results beside the guest's files.
    fn boot(
        &self,
        guest: &str,
        side: Side,
        words: &[String],
        sink: &mut dyn FnMut(&str),
    ) -> Result<Outcome> {
        let name = format!("{}-{guest}", self.name);
        let results = self.lab.build("xfstests").join(format!("{name}.img"));
        let _ = fs::remove_file(&results);
        fs::File::create(&results)?.set_len(RESULTS)?;
        let mut mke2fs = Command::new("mke2fs");
        output(
            mke2fs
                .args(["-q", "-F", "-O", "^has_journal"])
                .arg(&results),
        )?;
        let disk = |image, keep| Disk { image, keep };
        let vm = Vm::new(self.lab, &name, &kernel(side), 0)
            .platform(Platform::Large)
            .cpus(self.args.cpus)
            .silence(self.args.limit)
            // check looks at the console itself; tests make the kernel complain.
            .allow(Some(Regex::new(
                "WARNING: |blocked for more than|rcu: INFO|soft lockup",
            )?))
            .disks(vec![
                disk(self.image(), false),
                disk(results.clone(), true),
                disk(self.lab.build("xfstests/log-writes.img"), false),
            ]);
        let mkfs = self.args.on.script();
        let check = vm::script(&[&["./check".into()][..], words].concat());
        let end = "status=$?\ncd /\numount /mnt/results\nexit $status";
        let outcome = vm.run(&format!("{SETUP}{mkfs}{check}\n{end}"), sink)?;
        let kept = outcome.dir.join("results");
        fs::create_dir_all(&kept)?;
        let dump = format!("rdump / {}", kept.display());
        output(Command::new("debugfs").args(["-R", &dump]).arg(&results))?;
        fs::remove_file(&results)?;
        Ok(outcome)
    }
}

impl guests::Suite for Suite<'_> {
    fn guest(
        &self,
        guest: &str,
        side: Side,
        tests: &[String],
        sink: &mut dyn FnMut(Test),
    ) -> Result<Outcome> {
        let words = [&["--exact-order".into()][..], tests].concat();
        self.boot(guest, side, &words, &mut |line| {
            let test = check::result(line).filter(|test| tests.contains(&test.name));
            test.into_iter().for_each(&mut *sink);
        })
    }

    fn begun(&self, outcome: &Outcome) -> Result<Option<String>> {
        let console = outcome.console().unwrap_or_default();
        Ok(check::begun(&console).map(String::from))
    }
}
