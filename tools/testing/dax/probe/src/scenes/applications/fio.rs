// SPDX-License-Identifier: GPL-2.0

//! fio's engines: those that map the file meet a signal, and those that call meet an error.

use std::process::{Child, Stdio};

use super::{cleared, tool, Said, Victim};
use crate::scenes::prelude::*;

const HIT: usize = 5;
const LENGTH: usize = 64 << 10;
const BYTE: u8 = 0x5a;
const SIGNAL: &str = "got signal=7";

/// A job on the file, in blocks of a page.
fn fio(file: &Path, engine: &str, words: &[&str]) -> Result<Command> {
    let mut fio = tool("fio", "fio")?;
    fio.current_dir("/tmp");
    fio.args(["--name=job", "--bs=4k", "--direct=1"]);
    fio.arg(format!("--filename={}", file.display()));
    fio.arg(format!("--ioengine={engine}")).args(words);
    Ok(fio)
}

/// Whether a process maps the file.
fn is_mapped(file: &Path) -> Result<bool> {
    let name = file.to_string_lossy().into_owned();
    let maps = fs::read_dir("/proc")?
        .flatten()
        .map(|entry| entry.path().join("maps"));
    // Most are no processes, and some end meanwhile.
    let mut texts = maps.filter_map(|maps| fs::read_to_string(maps).ok());
    Ok(texts.any(|text| text.contains(&name)))
}

/// The engine libpmem makes its file anew, so the page fails while the job runs; what it says.
fn libpmem(file: &Path) -> Result<String> {
    // Stock's reads on for so long.
    let time = format!("--runtime={}", kernel::limit(30).as_secs());
    let words = ["--rw=read", "--size=64k", "--time_based", &time];
    let mut fio = fio(file, "libpmem", &words)?;
    let mut job = Job(Some(
        fio.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?,
    ));
    let begins = until(|| is_mapped(file))?;
    ensure!(
        begins,
        "fio: the engine libpmem does not map {}",
        file.display()
    );
    Victim::hit(file, HIT)?;
    let output = job.0.take().context("no job")?.wait_with_output()?;
    Ok(Said::new(output).with(SIGNAL))
}

struct Job(Option<Child>);

impl Drop for Job {
    fn drop(&mut self) {
        if let Some(job) = &mut self.0 {
            let _ = job.kill();
            let _ = job.wait();
        }
    }
}

scene!(FIO = 278 "fio" play: "fio's engines libpmem, mmap and psync on a bad page";
    fast, differs("libpmem", ""));
fn play(_: u64) -> Result<()> {
    const READ: [&str; 4] = [
        "--rw=read",
        "--size=64k",
        "--verify=pattern",
        "--verify_pattern=0x5a",
    ];
    // With an offset, the engine mmap writes elsewhere.
    const WRITE: [&str; 3] = ["--rw=write", "--size=64k", "--buffer_pattern=0x5a"];
    const EIO: &str = "Input/output error";

    let xfs = Xfs::new(&Options::default())?;
    let file = xfs.path("file");
    let again = || -> Result<()> {
        let _ = fs::remove_file(&file);
        fs::write(&file, vec![BYTE; LENGTH])?;
        let bad = cleared(&xfs, || Pmem(0).badblocks())?;
        ensure!(bad == "none", "the file that was deleted leaves {bad}");
        Ok(())
    };
    let say = |engine, words| -> Result<Said> { Said::of(&mut fio(&file, engine, words)?) };
    again()?;
    expect("libpmem", SIGNAL, libpmem(&file)?)?;
    again()?;
    let victim = Victim::hit(&file, HIT)?;
    expect("mmap", SIGNAL, say("mmap", &READ)?.with(SIGNAL))?;
    expect("mmap, written", SIGNAL, say("mmap", &WRITE)?.with(SIGNAL))?;
    expect("psync", EIO, say("psync", &READ)?.with(EIO))?;
    expect("psync, written", "exit 0", say("psync", &WRITE)?.ended())?;
    victim.expect_restored()?;
    for engine in ["mmap", "psync"] {
        let said = say(engine, &READ)?;
        expect(&format!("{engine}: verified"), "exit 0", said.ended())?;
    }
    Ok(())
}
