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

/// All scenes of a platform.
pub fn run(lab: &Lab, platform: Platform, out: &Out) -> Result<Vec<Test>> {
    let kernel = super::build_kernel(lab, "debug", out)?;
    let (name, only, seconds) = match platform {
        Platform::Nfit => ("debug-nfit", scenes::on_nfit()?, scenes::SHORT),
        _ => ("debug", Vec::new(), SECONDS),
    };
    let limit = SLOWER * scenes::time_limit(seconds);
    let vm = Vm::new(lab, name, &kernel, limit).platform(platform);
    // Hundreds of errors are too many for AML, which this kernel interprets slowly.
    let many =
        |name: &str| platform == Platform::Nfit && ["list-split", "scrub-flood"].contains(&name);
    let fast = scenes::names(|scene| scene.fast || many(&scene.name))?;
    let mut play = scenes::script(&only, &fast, seconds);
    if platform == Platform::Legacy {
        install_window(lab, &kernel)?;
        // Allocations fail, and windows of races are held open.
        let faults = scenes::names(|scene| scene.debug)?;
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
