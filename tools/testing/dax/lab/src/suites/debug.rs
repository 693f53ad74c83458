// SPDX-License-Identifier: GPL-2.0

//! Scenes on a kernel that looks for faults of its own: KASAN, lockdep, kmemleak, assertions of
//! XFS and of mm.

use std::path::Path;

use anyhow::{Context, Result};
use fs_err as fs;

use super::scenes;
use crate::ktap::Test;
use crate::lab::Lab;
use crate::qemu::Platform;
use crate::side::Out;
use crate::vm::Vm;

/// How long the races run.
const SECONDS: u64 = 20;
/// How much slower than others the kernel may be.
pub const SLOWER: u64 = 4;
/// Printed by the guest after the scenes.
const LOCKS: &str = "lockdep, debug_locks:";
const LEAKS: &str = "kmemleak, reports:";

/// The first report switches lockdep off: then it has seen nothing of what came later. kmemleak
/// reports an object that two scans have found no reference to, and that is five seconds old.
const LAST: &str = "\
    locks=$(awk '/debug_locks:/ { print $2 }' /proc/lockdep_stats)\n\
    leaks=/sys/kernel/debug/kmemleak\n\
    echo scan >$leaks && sleep 6 && echo scan >$leaks\n\
    head -n 60 $leaks\n";

/// Puts the module that opens windows of races into the guest's share.
pub fn install_window(lab: &Lab, kernel: &Path) -> Result<()> {
    let module = kernel.join("window/window.ko");
    fs::copy(module, lab.build("guest/window.ko")).context("make debug")?;
    Ok(())
}

/// Those of the legacy platform that take up to two minutes each, for locks that others take, too.
const SLOW: &str = "
    huge-cow old-reader peek verify-deleted metadata-lost grow-realtime owners fsmap";

/// Scenes that are played in one guest.
pub struct Part {
    name: &'static str,
    platform: Platform,
    /// Which; none are all of the legacy platform.
    only: fn() -> Result<Vec<String>>,
    /// Which of them not.
    except: &'static str,
    /// Whether allocations fail, and windows of races are held open.
    faults: bool,
}

pub const PART: Part = Part {
    name: "debug",
    platform: Platform::Legacy,
    only: || Ok(Vec::new()),
    except: SLOW,
    faults: true,
};
pub const LONG: Part = Part {
    name: "debug-long",
    only: || Ok(words(SLOW)),
    except: "",
    faults: false,
    ..PART
};
pub const NFIT: Part = Part {
    name: "debug-nfit",
    platform: Platform::Nfit,
    only: scenes::on_nfit,
    // Hundreds of errors are too many for AML, which this kernel interprets slowly.
    except: "list-split scrub-flood",
    faults: false,
};
pub const CXL: Part = Part {
    name: "debug-cxl",
    platform: Platform::Cxl,
    only: || scenes::names(|scene| scene.cxl),
    except: "",
    faults: false,
};

fn words(list: &str) -> Vec<String> {
    list.split_whitespace().map(String::from).collect()
}

pub fn run(lab: &Lab, part: &Part, out: &Out) -> Result<Vec<Test>> {
    let kernel = super::build_kernel(lab, "debug", out)?;
    let seconds = SECONDS;
    let limit = SLOWER * scenes::time_limit(seconds);
    let vm = Vm::new(lab, part.name, &kernel, limit).platform(part.platform);
    install_window(lab, &kernel)?;
    let mut except = words(part.except);
    except.extend(scenes::names(|scene| scene.fast)?);
    let mut play = scenes::script(&(part.only)()?, &except, seconds);
    if part.faults {
        let faults = scenes::names(|scene| scene.debug && scene.legacy)?;
        let faults = scenes::script(&faults, &[], seconds);
        play = format!("{faults}\nfaults=$?\n{play}");
    }
    let script = format!(
        "faults=0\n{play}\nstatus=$((faults | $?))\n{LAST}\
         echo \"{LOCKS} $locks\"\n\
         echo \"{LEAKS} $(grep -c '^unreferenced object' $leaks)\"\n\
         exit $status\n"
    );
    let outcome = vm.run(&script, &mut |line| out.line(line))?;
    let mut tests = scenes::results(&outcome);
    for (name, label, good) in [("lockdep is on", LOCKS, "1"), ("no leaks", LEAKS, "0")] {
        let said = outcome.output.iter().find_map(|l| l.strip_prefix(label));
        let said = said.map_or("not told", str::trim);
        tests.push(Test::of(name, said == good, said));
    }
    Ok(tests)
}
