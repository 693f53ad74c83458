// SPDX-License-Identifier: GPL-2.0

//! Where results go: build/results/RUN, a folder for each run of this program, and below it one
//! for each guest. `build/results/latest` is the last run's.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use anyhow::{bail, ensure, Context, Result};
use fs_err as fs;
use fs_err::os::unix::fs::symlink;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde_json::{json, Value};

use crate::ktap::{document, Counts, Test};
use crate::program::output;
use crate::qemu;

/// So many runs are kept.
const KEPT: usize = 20;
/// The kernel's reader of KTAP.
pub const KUNIT_PY: &str = "build/linux/tools/testing/kunit/kunit.py";
const META: &str = "meta.json";

/// One run of this program.
pub struct Run {
    top: PathBuf,
    pub name: String,
    pub dir: PathBuf,
    begin: (SystemTime, Instant),
    /// As the run found it.
    repository: Value,
    facts: Mutex<Facts>,
    /// A run that holds this is not taken away.
    _lock: Lock,
}

#[derive(Default)]
struct Facts {
    seeds: BTreeMap<String, Vec<u64>>,
    kernels: BTreeMap<String, Value>,
    counts: Option<Counts>,
}

impl Run {
    /// A new one. The oldest ones make room for it.
    pub fn new(top: &Path) -> Result<Self> {
        let results = top.join("build/results");
        fs::create_dir_all(&results)?;
        let begin = (SystemTime::now(), Instant::now());
        let stamp = humantime::format_rfc3339_seconds(begin.0).to_string();
        let (name, dir) = new_folder(&results, &stamp.replace(':', ""))?;
        let lock = lock(&dir)?.context("the folder of this run is in use")?;
        // Two that begin at once: either may be the last one.
        let link = results.join(format!(".latest.{name}"));
        symlink(&name, &link)?;
        fs::rename(link, results.join("latest"))?;
        prune(top, &results)?;
        let run = Self {
            top: top.into(),
            name,
            dir,
            begin,
            repository: repository(top),
            facts: Mutex::default(),
            _lock: lock,
        };
        run.write_meta()?;
        Ok(run)
    }

    /// A folder for a guest, with its number if there was one of this name.
    pub fn guest(&self, name: &str) -> Result<(String, PathBuf)> {
        let good = !name.is_empty() && !name.contains(['/', ' ', ',']);
        ensure!(good, "{name:?} is no name for a guest");
        new_folder(&self.dir, name)
    }

    /// What guests of this run are given, below build/guest.
    pub fn share(&self) -> PathBuf {
        share(&self.top, &self.name)
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is random in a suite.
    pub fn seed(&self, suite: &str, seed: u64) {
        let mut facts = self.facts();
        facts.seeds.entry(suite.into()).or_default().push(seed);
    }

    /// Notes a kernel that a guest runs: its build directory, or an image.
    pub fn kernel(&self, kernel: &Path) {
        let name = kernel.strip_prefix(&self.top).unwrap_or(kernel);
        let mut facts = self.facts();
        let known = facts.kernels.entry(name.display().to_string());
        known.or_insert_with(|| {
            let dir = self.top.join(kernel);
            json!({
                "release": line(&dir.join("include/config/kernel.release")),
                "config_sha256": sha256(&dir.join(".config")),
            })
        });
    }

    /// Writes what the suites came to: KTAP, and JUnit as the kernel's tree makes it.
    pub fn write(&self, suites: &[(String, &[Test])]) -> Result<()> {
        let tests = suites.iter().flat_map(|(_, tests)| tests.iter());
        self.facts().counts = Some(Counts::of(tests));
        let ktap = self.dir.join("results.ktap");
        let suites = suites.iter().map(|(name, tests)| (name.as_str(), *tests));
        fs::write(&ktap, document(suites))?;
        let junit = self.dir.join("junit.xml");
        // It fails if a test has.
        let made = output(
            Command::new("python3")
                .arg("-B")
                .arg(self.top.join(KUNIT_PY))
                .args(["parse", "--failed"])
                .arg(format!("--junit={}", junit.display()))
                .arg(&ktap),
        );
        match made {
            Err(e) if !junit.is_file() => bail!("no JUnit: {e:#}"),
            _ => Ok(()),
        }
    }

    /// Writes what the run is, and what it was made of.
    pub fn write_meta(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.meta())?;
        Ok(fs::write(self.dir.join(META), text + "\n")?)
    }

    fn meta(&self) -> Value {
        let facts = self.facts();
        let counts = facts.counts.map(|counts| {
            json!({
                "passed": counts.passed,
                "failed": counts.failed,
                "skipped": counts.skipped,
            })
        });
        let versions = fs::read_to_string(self.top.join("build/versions")).ok();
        json!({
            "run": self.name,
            "arguments": std::env::args().skip(1).collect::<Vec<_>>(),
            "begin": humantime::format_rfc3339_seconds(self.begin.0).to_string(),
            "seconds": self.begin.1.elapsed().as_secs(),
            "counts": counts,
            "repository": self.repository,
            "base": versions.as_deref().map(|text| pairs(text, '=')),
            "kernels": facts.kernels,
            "qemu": qemu::version(),
            "accel": qemu::accel(),
            "seeds": facts.seeds,
            "machine": machine(),
        })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Their guests have ended.
        let _ = fs::remove_dir_all(self.share());
        if let Err(e) = self.write_meta() {
            eprintln!("dax-lab: {e:#}");
        }
    }
}

fn share(top: &Path, run: &str) -> PathBuf {
    top.join("build/guest/vm").join(run)
}

/// Makes a folder that was not there: NAME, or NAME.2 and so on.
fn new_folder(dir: &Path, name: &str) -> Result<(String, PathBuf)> {
    let mut number = 1;
    loop {
        let name = match number {
            1 => name.into(),
            _ => format!("{name}.{number}"),
        };
        let path = dir.join(&name);
        match fs::create_dir(&path) {
            Ok(()) => return Ok((name, path)),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(e) => return Err(e.into()),
        }
    }
}

type Lock = Flock<std::fs::File>;

/// Takes the lock of a folder, unless it is taken.
fn lock(dir: &Path) -> Result<Option<Lock>> {
    let file = fs::File::open(dir)?.into_parts().0;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, e)) => Err(e).with_context(|| dir.display().to_string()),
    }
}

/// Removes the oldest runs, but none that has not ended.
fn prune(top: &Path, results: &Path) -> Result<()> {
    let mut runs = Vec::new();
    for entry in fs::read_dir(results)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // A run's name is its date.
        if entry.file_type()?.is_dir() && name.starts_with(|c: char| c.is_ascii_digit()) {
            runs.push(name);
        }
    }
    runs.sort_unstable();
    runs.reverse();
    for name in runs.iter().skip(KEPT) {
        let dir = results.join(name);
        // Another process may do the same meanwhile.
        let Ok(Some(_lock)) = lock(&dir) else {
            continue;
        };
        // It was killed if that is there.
        let _ = fs::remove_dir_all(share(top, name));
        match fs::remove_dir_all(dir) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e.into()),
            _ => (),
        }
    }
    Ok(())
}

/// A file's first line.
fn line(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().next().map(String::from)
}

fn sha256(path: &Path) -> Option<String> {
    let said = output(Command::new("sha256sum").arg(path)).ok()?;
    said.split(' ').next().map(String::from)
}

/// Lines of names and values.
fn pairs(text: &str, between: char) -> BTreeMap<&str, &str> {
    let lines = text.lines().filter_map(|line| line.split_once(between));
    lines.map(|(a, b)| (a.trim(), b.trim())).collect()
}

/// The commit, and whether something was changed since. Nothing where there is no git.
fn repository(top: &Path) -> Value {
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        // Files may be those of the user who called sudo.
        git.args(["-c", "safe.directory=*", "-C"]).arg(top);
        output(git.args(words)).ok()
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=normal"]);
    json!({
        "revision": git(&["rev-parse", "HEAD"]).as_deref().map(str::trim),
        "dirty": changed.map(|text| !text.is_empty()),
    })
}

fn machine() -> Value {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory = pairs(&info, ':').get("MemTotal").and_then(|text| {
        let kib: u64 = text.split(' ').next()?.parse().ok()?;
        Some(kib >> 10)
    });
    json!({
        "cpus": std::thread::available_parallelism().ok().map(|n| n.get()),
        "cpu": pairs(&cpu, ':').get("model name"),
        "memory_mib": memory,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository's top directory without git.
    struct Top(PathBuf);

    impl Top {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("{name}.{}", std::process::id()));
            fs::create_dir_all(dir.join("build")).unwrap();
            Self(dir)
        }
    }

    impl Drop for Top {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn no_run_takes_the_place_of_another() {
        let top = Top::new("results");
        let results = top.0.join("build/results");
        let (a, b) = (Run::new(&top.0).unwrap(), Run::new(&top.0).unwrap());
        assert_ne!(a.dir, b.dir);
        let latest = fs::read_link(results.join("latest")).unwrap();
        assert_eq!(latest.to_str(), Some(b.name.as_str()));
        // Nor does a guest.
        let guests: Vec<_> = (0..2).map(|_| a.guest("run").unwrap().0).collect();
        assert_eq!(guests, ["run", "run.2"]);
        for bad in ["", "a/b", "a b", "a,b"] {
            assert!(a.guest(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_oldest_ones_go() {
        let top = Top::new("prune");
        let results = top.0.join("build/results");
        let old = Run::new(&top.0).unwrap();
        fs::create_dir(results.join("kept")).unwrap();
        let name = |n| results.join(format!("2999-01-01T0000{n:02}Z"));
        (0..KEPT + 2).for_each(|n| fs::create_dir(name(n)).unwrap());
        let used = lock(&name(1)).unwrap();
        prune(&top.0, &results).unwrap();
        assert!(old.dir.is_dir() && used.is_some() && results.join("kept").is_dir());
        let left = (0..KEPT + 2).filter(|&n| name(n).is_dir());
        // All but the first, and the second one is in use.
        assert_eq!(left.collect::<Vec<_>>(), Vec::from_iter(1..KEPT + 2));
    }

    #[test]
    fn what_a_run_was_made_of() {
        let top = Top::new("meta");
        fs::write(top.0.join("build/versions"), "BASE=7.3.4\nRUSTC = 1.85\n").unwrap();
        let kernel = top.0.join("build/kernels/patched");
        fs::create_dir_all(kernel.join("include/config")).unwrap();
        fs::write(kernel.join("include/config/kernel.release"), "7.3.4\n").unwrap();
        fs::write(kernel.join(".config"), "").unwrap();
        let run = Run::new(&top.0).unwrap();
        run.kernel(Path::new("build/kernels/patched"));
        run.seed("crash", 7);
        let tests = [Test::failed("a", "why"), Test::of("b", true, "")];
        // There is no kunit.py, which is said.
        let error = run.write(&[("one".into(), &tests)]).unwrap_err();
        assert!(error.to_string().starts_with("no JUnit: "), "{error:#}");
        let file = run.dir.join(META);
        drop(run);
        let meta: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(meta["base"]["RUSTC"], "1.85");
        assert_eq!(meta["seeds"]["crash"][0], 7);
        assert_eq!(
            (&meta["counts"]["failed"], &meta["counts"]["skipped"]),
            (&json!(1), &json!(0))
        );
        let kernel = &meta["kernels"]["build/kernels/patched"];
        assert_eq!(kernel["release"], "7.3.4");
        // Of an empty file.
        assert!(kernel["config_sha256"]
            .as_str()
            .unwrap()
            .starts_with("e3b0c442"));
        assert_eq!(meta["repository"]["revision"], Value::Null);
        assert!(meta["machine"]["cpus"].as_u64().unwrap() > 0);
    }
}
