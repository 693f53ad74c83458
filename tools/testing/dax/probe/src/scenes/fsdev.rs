// SPDX-License-Identifier: GPL-2.0

//! Memory that fails while it belongs to a DAX driver without a filesystem, and then to
//! pmem: what the one driver has done to the page must not meet the other.

use super::platform::ndctl;
use crate::pmem::parse_address;
use crate::scenes::prelude::*;

const HUGE: usize = 2 << 20;
const BUS: &str = "/sys/bus/dax";
pub const DEVICE: Pmem = Pmem(1);
/// The page that fails, from the start of the device's data.
pub const BAD: u64 = 100;

/// The device that has taken the memory, on the bus of DAX devices.
pub struct DaxDevice {
    namespace: String,
    name: String,
    start: u64,
    driver: &'static str,
}

impl DaxDevice {
    /// Takes it from pmem. It is bound to device_dax then.
    pub fn new() -> Result<Self> {
        let pfn = fs::read_to_string(format!("/sys/block/pmem{}/device/namespace", DEVICE.0));
        let namespace = match pfn {
            Ok(name) => name.trim().into(),
            Err(_) => DEVICE.namespace()?,
        };
        remake(&namespace, "devdax")?;
        let (name, start) = only()?;
        Ok(Self {
            namespace,
            name,
            start,
            driver: "device_dax",
        })
    }

    fn tell(&self, verb: &str) -> Result<()> {
        tell(self.driver, verb, &self.name)
    }

    /// Has another driver take it.
    fn bind(&mut self, driver: &'static str) -> Result<()> {
        rebind(&self.name, self.driver, driver)?;
        self.driver = driver;
        Ok(())
    }

    pub fn path(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// `ndctl inject-error` of the page that fails.
    pub fn inject(&self) -> Result<()> {
        let block = format!("--block={}", BAD * PAGE / SECTOR);
        let words = [
            "inject-error",
            &self.namespace,
            &block,
            "--count=8",
            "--saturate",
        ];
        ndctl(&words).map(drop)
    }

    /// The bad sectors that the driver of the region lists, counted from its start.
    pub fn region_list(&self) -> Result<String> {
        let path = format!("/sys/bus/nd/devices/{}/../badblocks", self.namespace);
        pmem::bad_list(&path)
    }

    /// The same as ndctl tells, from the start of the device's data.
    pub fn listed(&self) -> Result<String> {
        super::platform::listed(&self.namespace)
    }

    /// A machine check.
    fn fail(&self) -> Result<u64> {
        let at = self.start + BAD * PAGE;
        let said = mce::deliver(at)?;
        note(&format!("{}: machine check: {said}", self.driver))?;
        Ok(at)
    }

    /// Gives it back to pmem, as it was.
    pub fn give_back(self) -> Result<()> {
        self.tell("unbind")?;
        if self.driver != "device_dax" {
            self.tell("remove_id")?;
        }
        remake(&self.namespace, "fsdax")?;
        let end = Instant::now() + patience();
        while !Path::new(&DEVICE.path()).exists() {
            ensure!(Instant::now() < end, "{} does not come back", DEVICE.path());
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// The device on the bus, if it is the only one, and its physical address.
pub fn only() -> Result<(String, u64)> {
    let mut names = Vec::new();
    for entry in fs::read_dir(format!("{BUS}/devices"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    ensure!(names.len() == 1, "devices on {BUS}: {names:?}");
    let name = names.remove(0);
    let path = format!("{BUS}/devices/{name}/resource");
    let text = fs::read_to_string(&path).context(path)?;
    Ok((name, parse_address(text.trim())?))
}

fn tell(driver: &str, verb: &str, name: &str) -> Result<()> {
    let path = format!("{BUS}/drivers/{driver}/{verb}");
    fs::write(&path, name).with_context(|| format!("{name} > {path}"))
}

/// Has one driver give a device to another.
pub fn rebind(name: &str, from: &str, to: &str) -> Result<()> {
    tell(from, "unbind", name)?;
    tell(to, "new_id", name)?;
    ensure!(is_bound(name, to), "{to} does not take {name}");
    Ok(())
}

pub fn is_bound(name: &str, driver: &str) -> bool {
    Path::new(&format!("{BUS}/drivers/{driver}/{name}")).exists()
}

/// A namespace in a mode of ndctl's, made anew.
fn remake(namespace: &str, mode: &str) -> Result<()> {
    let mode = format!("--mode={mode}");
    let words = [
        "create-namespace",
        "-f",
        "-e",
        namespace,
        &mode,
        "--map=mem",
    ];
    ndctl(&words).map(drop)
}

/// O_DIRECT to the page that failed at physical address `at`.
fn write_there(at: u64) -> Result<()> {
    let offset = at.checked_sub(DEVICE.address(0)?);
    let offset = offset.context("before the data")?;
    let written = DEVICE.overwrite(offset);
    let written = written.map_or_else(|e| format!("{e:#}"), |()| "0".into());
    expect("pmem: written", "0", written)?;
    expect("pmem: read", "zeros", DEVICE.read(offset)?)?;
    expect("pmem: bad sectors", "none", DEVICE.badblocks()?)
}

scene!(FSDEV = 169 "fsdev" fsdev: "memory that failed under fsdev_dax, then used by pmem";
    differs("HardwareCorrupted, in the end", "+4 kB"));
/// Under fsdev_dax, which has a handler of its own.
fn fsdev(_: u64) -> Result<()> {
    play(|device| device.bind("fsdev_dax"))
}

scene!(DEVDAX = 170 "devdax" devdax: "memory that failed under device_dax, then used by pmem";
    crashes(STORE));
/// Under device_dax, while a process maps it: the error is recovered from, and the page
/// leaves the direct map.
fn devdax(_: u64) -> Result<()> {
    play(|device| {
        let area = Area::shared(&device.path(), HUGE / PAGE_SIZE)?;
        // Not the byte that files have.
        area.load(0);
        // It stays until this process ends, or is killed.
        std::mem::forget(area);
        Ok(())
    })
}

fn play(prepare: fn(&mut DaxDevice) -> Result<()>) -> Result<()> {
    DEVICE.overwrite_bad()?;
    let lost = kernel::hardware_corrupted()?;
    let mut device = DaxDevice::new()?;
    prepare(&mut device)?;
    let at = device.fail()?;
    let more = |what, expected| {
        let more = kernel::hardware_corrupted()? as i64 - lost as i64;
        expect(
            &format!("HardwareCorrupted, {what}"),
            expected,
            format!("{more:+} kB"),
        )
    };
    more("failed", "+4 kB")?;
    device.give_back()?;
    write_there(at)?;
    if firmware::exists() {
        expect("firmware", "0", firmware::errors()?.len().to_string())?;
    }
    more("in the end", "+0 kB")
}
