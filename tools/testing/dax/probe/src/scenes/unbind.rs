// SPDX-License-Identifier: GPL-2.0

//! The driver goes away under a mounted filesystem (pre-remove).
//!
//! Every process that has a page mapped gets an advisory SIGBUS, and the
//! filesystem is shut down, so touching on faults like a file that lost its end.

use crate::pmem::DRIVER;
use crate::scenes::prelude::*;

pub fn patience() -> Duration {
    kernel::limit(30)
}
/// Touching threads need a moment at the device, before and after it goes.
const MOMENT: Duration = Duration::from_millis(500);

scene!(UNBIND = 9 "unbind" play: "the driver unbound under two mappers"; hangs(GROUP));
fn play(_: u64) -> Result<()> {
    let (xfs, a, b) = Xfs::with_pair(4)?;
    let mut first = Map::new(&a, 4).start()?;
    let mut second = Map::new(&b, 4).start()?;
    let namespace = Pmem(0).namespace()?;
    first.spin()?;
    second.spin()?;
    std::thread::sleep(MOMENT);

    let unbind = Worker::start(|| driver("unbind", &namespace))?;
    let outcome = unbind.end(patience());
    expect("unbind", "done", &outcome)?;
    ensure!(outcome == "done", "nothing to be seen after that");
    std::thread::sleep(MOMENT);
    for (name, probe) in [("a, mapper", &mut first), ("b, mapper", &mut second)] {
        probe.stop()?;
        expect(name, "BUS_MCEERR_AO, then BUS_ADRERR", probe.kinds())?;
    }
    drop((first, second));
    // Nothing has used the device since: it is shut down because the device went.
    let opened = File::open(&a).map_or_else(
        |e| errno_name(e.raw_os_error().unwrap_or(0)),
        |_| "0".into(),
    );
    expect("open", "EIO", opened)?;
    back(&xfs, Pmem(0), &namespace)?;
    expect("reader, bound again", INTACT, xfs::intact(&a, 4))
}

/// Takes the device away, which is not mounted, and brings it back.
pub fn again(device: Pmem) -> Result<()> {
    let namespace = device.namespace()?;
    driver("unbind", &namespace)?;
    bind(device, &namespace)
}

/// The rest of a scene whose `device` is gone: unmounted, which is not to hang, bound again, and
/// mounted.
pub fn back(xfs: &Xfs, device: Pmem, namespace: &str) -> Result<()> {
    let umount = Worker::start(xfs::umount)?;
    expect("umount", "done", umount.end(patience()))?;
    bind(device, namespace)?;
    xfs.mount()
}

pub fn bind(device: Pmem, namespace: &str) -> Result<()> {
    driver("bind", namespace)?;
    wait_for(&device.path())
}

pub fn driver(verb: &str, namespace: &str) -> Result<()> {
    let path = format!("{DRIVER}/{verb}");
    fs::write(&path, namespace).with_context(|| format!("{namespace} > {path}"))
}

fn wait_for(device: &str) -> Result<()> {
    let end = Instant::now() + patience();
    while !fs::exists(device)? {
        ensure!(Instant::now() < end, "{device} does not come back");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
