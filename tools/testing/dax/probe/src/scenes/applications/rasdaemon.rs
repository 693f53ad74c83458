// SPDX-License-Identifier: GPL-2.0

//! rasdaemon's database: each page that failed, whichever way the kernel came to know it.

use std::process::{Child, Stdio};

use super::{good, tool};
use crate::scenes::prelude::*;

const DATABASE: &str = "/var/lib/rasdaemon/ras-mc_event.db";
/// What is asked in its place: rasdaemon would lose what it can't write while someone reads.
const COPY: &str = "/tmp/ras-mc_event.db";
const INSTANCE: &str = "/sys/kernel/debug/tracing/instances/rasdaemon/events";
const EVENTS: &str = "/sys/kernel/tracing/events";
/// What it asks for and the lab's kernel may not have. It waits half a minute for each.
const OTHERS: [&str; 14] = [
    "ras/aer_event",
    "ras/extlog_mem_event",
    "mce/mce_record",
    "devlink/devlink_health_report",
    "block/block_rq_error",
    "block/block_rq_complete",
    "cxl/cxl_poison",
    "cxl/cxl_aer_uncorrectable_error",
    "cxl/cxl_aer_correctable_error",
    "cxl/cxl_overflow",
    "cxl/cxl_generic_event",
    "cxl/cxl_general_media",
    "cxl/cxl_dram",
    "cxl/cxl_memory_module",
];

struct Daemon(Child);

impl Daemon {
    /// Records what the kernel says from now on. Of events that are not there, strace has it
    /// believe that they are, so that it opens them, and goes on with the next.
    fn start() -> Result<Self> {
        let program = tool("rasdaemon", "rasdaemon")?;
        let _ = fs::remove_file(DATABASE);
        let mut strace = tool("strace", "strace")?;
        strace.args(["--kill-on-exit", "-o", "/dev/null"]);
        strace.args(["-e", "inject=access:retval=0"]);
        for event in OTHERS {
            if !Path::new(EVENTS).join(event).exists() {
                strace.args(["-P", &format!("{INSTANCE}/{event}/format")]);
            }
        }
        strace.arg(program.get_program()).args(["-f", "-r"]);
        strace.stdout(Stdio::null()).stderr(Stdio::null());
        let daemon = Self(strace.spawn().context("strace")?);
        let enabled = format!("{INSTANCE}/ras/memory_failure_event/enable");
        let mut tables = String::new();
        let listens = until(|| {
            sleep(Duration::from_millis(500));
            let before = std::mem::take(&mut tables);
            // There is none, or a part, to begin with.
            tables = ask("select name from sqlite_master where type = 'table'").unwrap_or_default();
            let on = fs::read_to_string(&enabled).is_ok_and(|on| on.trim() == "1");
            Ok(on && tables == before && tables.contains("memory_failure_event"))
        })?;
        ensure!(listens, "rasdaemon does not listen");
        Ok(daemon)
    }

    /// What it has of a page: "" if nothing comes.
    fn has(&self, pfn: u64) -> Result<String> {
        let mut got = String::new();
        until(|| {
            let pages = "select page_type || ': ' || action_result from memory_failure_event";
            // It may be written to just now.
            let rows = ask(&format!("{pages} where pfn = '{pfn:#x}'")).unwrap_or_default();
            got = rows.replace('\n', ", ");
            Ok(!got.is_empty())
        })?;
        Ok(got)
    }
}

/// What the database answers.
fn ask(sql: &str) -> Result<String> {
    fs::copy(DATABASE, COPY)?;
    good(tool("sqlite3", "sqlite3")?.args([COPY, sql]))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = fs::remove_dir("/sys/kernel/tracing/instances/rasdaemon");
    }
}

scene!(RASDAEMON = 276 "rasdaemon" play: "rasdaemon's database: each page that failed, once";
    nfit, fast, differs("scrub", ""));
fn play(_: u64) -> Result<()> {
    const RECOVERED: &str = "dax page: Recovered";
    let device = Device::new(0)?;
    let (_, file) = Xfs::with_file("file", 8)?;
    let daemon = Daemon::start()?;
    let pfn = |page| -> Result<u64> { Pmem(0).pfn(place(&file, page)?) };

    device.inject(place(&file, 5)? / PAGE, 8, &["--saturate"])?;
    expect("scrub", RECOVERED, daemon.has(pfn(5)?)?)?;
    bad::mend(&file, 5, 6)?;
    let mut mapper = Map::new(&file, 8).start()?;
    mapper.poison(3)?;
    expect("MADV_HWPOISON", RECOVERED, daemon.has(pfn(3)?)?)?;
    drop(mapper);
    simulate(pfn(4)?)?;
    expect("hwpoison-inject", RECOVERED, daemon.has(pfn(4)?)?)?;
    Bad::hit(&file, 1)?;
    expect("machine check", RECOVERED, daemon.has(pfn(1)?)?)?;
    drop(daemon);
    let mut list = tool("ras-mc-ctl", "rasdaemon")?;
    let text = good(list.arg("--errors"))?;
    let count = text.matches(&format!("{:#x}", pfn(5)?)).count();
    expect("ras-mc-ctl --errors", "1", count.to_string())?;
    bad::mend(&file, 1, 2)?;
    expect("restored", INTACT, xfs::intact(&file, 8))
}
