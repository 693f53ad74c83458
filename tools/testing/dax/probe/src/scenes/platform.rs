// SPDX-License-Identifier: GPL-2.0

//! The platform of `--platform nfit`, as ndctl and the kernel's driver see it: what the
//! other scenes on it rest upon. No filesystem is involved, but for the last.

use crate::scenes::prelude::*;
use serde_json::Value;

/// What ndctl counts in.
const BLOCK: u64 = 512;
const BLOCKS: u64 = PAGE / BLOCK;
/// The first of the pages that these scenes play with.
const FIRST: u64 = 100;

/// Errors on the one device, and on the other.
const MANY: u64 = 100;
const ELSEWHERE: u64 = 5;

/// A device, with no error to begin with.
pub struct Device(pub Pmem);

impl Device {
    pub fn new(number: u32) -> Result<Self> {
        let known = firmware::errors()?.len();
        ensure!(known == 0, "{known} errors are there already");
        let device = Self(Pmem(number));
        let bad = device.0.badblocks()?;
        ensure!(bad == "none", "bad sectors already: {bad}");
        Ok(device)
    }

    /// ndctl's name of it.
    pub fn namespace(&self) -> Result<String> {
        let path = format!("/sys/block/pmem{}/device/namespace", self.0 .0);
        let name = fs::read_to_string(&path).context(path)?;
        Ok(name.trim().into())
    }

    /// `ndctl inject-error`, from a page on.
    pub fn inject(&self, page: u64, count: u64, options: &[&str]) -> Result<Value> {
        self.inject_sectors(page * BLOCKS, count, options)
    }

    /// `ndctl inject-error`, from a sector on. ndctl injects one sector after the other, and has the
    /// kernel look after each, which on a slow kernel finds a part of them: so after the last alone.
    pub fn inject_sectors(&self, sector: u64, count: u64, options: &[&str]) -> Result<Value> {
        let namespace = self.namespace()?;
        let inject = |sector, count, more: &[&str]| {
            let block = format!("--block={sector}");
            let count = format!("--count={count}");
            let words = ["inject-error", &namespace, &block, &count];
            ndctl(&[&words[..], options, more].concat())
        };
        if count == 1 || options.contains(&"--no-notify") {
            return inject(sector, count, &[]);
        }
        inject(sector, count - 1, &["--no-notify"])?;
        inject(sector + count - 1, 1, &[])
    }

    /// What is injected, as ndctl tells.
    fn status(&self) -> Result<String> {
        let status = ndctl(&["inject-error", &self.namespace()?, "--status"])?;
        ranges(&status["badblocks"], "block", "count")
    }

    /// The bad blocks that the driver lists, as ndctl tells.
    fn listed(&self) -> Result<String> {
        listed(&self.namespace()?)
    }

    /// The errors that the firmware knows of: bytes from the device's start.
    pub fn errors(&self) -> Result<String> {
        let start = self.0.address(0)?;
        let errors = firmware::errors()?;
        let texts = errors.iter().map(|error| {
            let at = error.address.wrapping_sub(start);
            format!("{at}+{}", error.length)
        });
        Ok(join(texts.collect()))
    }

    fn overwrite(&self, page: u64) -> Result<String> {
        match self.0.overwrite(page * PAGE) {
            Ok(()) => Ok("0".into()),
            Err(e) => match e.downcast_ref::<io::Error>() {
                Some(io) => Ok(errno_name(io.raw_os_error().unwrap_or(-1))),
                None => Err(e),
            },
        }
    }
}

/// The bad blocks of a namespace, as ndctl tells.
pub fn listed(namespace: &str) -> Result<String> {
    let list = ndctl(&["list", "-N", "-M", "-n", namespace])?;
    let namespace = list.get(0).unwrap_or(&list);
    ranges(&namespace["badblocks"], "offset", "length")
}

pub fn ndctl(words: &[&str]) -> Result<Value> {
    let output = Command::new("ndctl")
        .args(words)
        .output()
        .context("ndctl")?;
    let told = String::from_utf8_lossy(&output.stderr);
    let good = output.status.success();
    ensure!(good, "ndctl {}: {}", words.join(" "), told.trim());
    let text = String::from_utf8_lossy(&output.stdout);
    // Words to the user may come first.
    Ok(match text.find(['{', '[']) {
        Some(start) => serde_json::from_str(&text[start..]).context("ndctl's JSON")?,
        None => Value::Null,
    })
}

fn ranges(list: &Value, first: &str, len: &str) -> Result<String> {
    let mut texts = Vec::new();
    for range in list.as_array().into_iter().flatten() {
        let number = |key: &str| range[key].as_u64().context("ndctl: not a range");
        texts.push(format!("{}+{}", number(first)?, number(len)?));
    }
    Ok(join(texts))
}

fn join(texts: Vec<String>) -> String {
    match &texts[..] {
        [] => "none".into(),
        _ => texts.join(" "),
    }
}

/// A scrub of all devices, from its start to its end.
pub fn scrub() -> Result<()> {
    ndctl(&["start-scrub"])?;
    ndctl(&["wait-scrub"])?;
    Ok(())
}

/// Whether one goes on now.
fn scrubbing() -> Result<String> {
    let path = "/sys/bus/nd/devices/ndbus0/nfit/scrub";
    let state = fs::read_to_string(path).context(path)?;
    let busy = state.trim().ends_with('+');
    Ok(if busy { "busy" } else { "idle" }.into())
}

scene!(FIRMWARE = 70 "firmware" inject: "the platform: ndctl injects errors and takes them back";
    nfit, passes(LAB));
/// A block injected, with a notification and without, and taken back.
fn inject(_: u64) -> Result<()> {
    let device = Device::new(0)?;
    let at = FIRST * PAGE;
    let block = FIRST * BLOCKS;
    let one = format!("{block}+1");

    device.inject(FIRST, 1, &[])?;
    // What can be cleared at once is less than a block.
    expect("injected: firmware", &format!("{at}+256"), device.errors()?)?;
    expect("injected: --status", &one, device.status()?)?;
    expect("injected: bad sectors", &one, device.0.badblocks()?)?;
    expect("injected: list -M", &one, device.listed()?)?;
    expect("injected: read", "EIO", device.0.read(at)?)?;

    device.inject(FIRST, 1, &["--uninject"])?;
    expect("uninjected: firmware", "none", device.errors()?)?;
    expect("uninjected: --status", "none", device.status()?)?;
    // The driver forgets it only when it is written to.
    expect("uninjected: bad sectors", &one, device.0.badblocks()?)?;
    expect("uninjected: write", "0", device.overwrite(FIRST)?)?;
    expect("written: bad sectors", "none", device.0.badblocks()?)?;

    let two = format!("{block}+2");
    device.inject(FIRST, 2, &["--saturate", "--no-notify"])?;
    expect(
        "not told: firmware",
        &format!("{at}+1024"),
        device.errors()?,
    )?;
    expect("not told: bad sectors", "none", device.0.badblocks()?)?;
    scrub()?;
    expect("scrubbed: bad sectors", &two, device.0.badblocks()?)?;
    expect("scrubbed: write", "0", device.overwrite(FIRST)?)?;
    expect("written: firmware", "none", device.errors()?)?;
    expect("written: bad sectors", "none", device.0.badblocks()?)
}

scene!(FIRMWARE_CLEAR = 71 "firmware-clear" clear:
    "the platform: errors are cleared in part, or refused"; nfit, passes(LAB));
/// Writes that hit errors in part, and clears that the firmware refuses.
fn clear(_: u64) -> Result<()> {
    let device = Device::new(0)?;
    let at = FIRST * PAGE;
    let block = FIRST * BLOCKS;

    device.inject(FIRST, 3 * BLOCKS, &["--saturate", "--no-notify"])?;
    expect(
        "3 pages: firmware",
        &format!("{at}+12288"),
        device.errors()?,
    )?;
    scrub()?;
    let known = device.0.badblocks()?;
    expect("3 pages: bad sectors", &format!("{block}+24"), known)?;
    expect("write in the middle", "0", device.overwrite(FIRST + 1)?)?;
    let parts = format!("{at}+4096 {}+4096", at + 2 * PAGE);
    expect("split: firmware", &parts, device.errors()?)?;
    let parts = format!("{block}+8 {}+8", block + 2 * BLOCKS);
    expect("split: bad sectors", &parts, device.0.badblocks()?)?;
    expect("split: --status", &parts, device.status()?)?;
    expect("split: read", "zeros", device.0.read(at + PAGE)?)?;

    let refusing = Refusing::new()?;
    expect("refused: write", "EIO", device.overwrite(FIRST)?)?;
    expect("refused: --status", &parts, device.status()?)?;
    expect("refused: bad sectors", &parts, device.0.badblocks()?)?;
    drop(refusing);
    expect("not refused: write", "0", device.overwrite(FIRST)?)?;
    expect("not refused: write", "0", device.overwrite(FIRST + 2)?)?;
    expect("written: firmware", "none", device.errors()?)?;
    expect("written: bad sectors", "none", device.0.badblocks()?)
}

scene!(FIRMWARE_MANY = 72 "firmware-many" many: "the platform: a hundred errors";
    nfit, passes(LAB));
/// As many errors as real firmware reports at once, and more, on two devices.
fn many(_: u64) -> Result<()> {
    let devices = [(Device::new(0)?, MANY), (Device::new(1)?, ELSEWHERE)];
    let pages = |count| (0..count).map(|n| FIRST + 2 * n);
    let start = Instant::now();
    for (device, count) in &devices {
        for page in pages(*count) {
            device.inject(page, 1, &["--no-notify", "--saturate"])?;
        }
    }
    note_time("ndctl inject-error, each time", start, MANY + ELSEWHERE)?;
    expect_count("firmware", MANY + ELSEWHERE)?;
    let start = Instant::now();
    scrub()?;
    note_time("scrub", start, 1)?;
    for (device, count) in &devices {
        let blocks = pages(*count).map(|page| format!("{}+1", page * BLOCKS));
        let blocks = join(blocks.collect());
        let name = device.0.path();
        let row = |what: &str, seen: String| {
            let seen = if seen == blocks { "as injected" } else { &seen };
            expect(&format!("{name}: {what}"), "as injected", seen)
        };
        row("--status", device.status()?)?;
        row("bad sectors", device.0.badblocks()?)?;
        row("list -M", device.listed()?)?;
        let start = Instant::now();
        device.0.overwrite_bad()?;
        note_time("clear, each time", start, *count)?;
        let left = device.0.badblocks()?;
        expect(&format!("{name}: overwritten"), "none", left)?;
    }
    expect_count("firmware", 0)
}

fn expect_count(what: &str, count: u64) -> Result<()> {
    let known = firmware::errors()?.len();
    expect(what, &format!("{count} errors"), format!("{known} errors"))
}

fn note_time(what: &str, start: Instant, times: u64) -> Result<()> {
    let each = start.elapsed().as_millis() as u64 / times;
    note(&format!("{what}: {each} ms"))
}

scene!(FIRMWARE_SLOW = 73 "firmware-slow" slow: "the platform: a scrub that takes its time";
    nfit, passes(LAB));
/// A scrub that takes its time.
fn slow(_: u64) -> Result<()> {
    let device = Device::new(0)?;
    device.inject(FIRST, 1, &["--no-notify"])?;
    firmware::slow_scrub(2)?;
    let seen = slowly(&device);
    firmware::slow_scrub(0)?;
    let [early, bad_early, late, bad_late] = seen?;
    expect("started: scrub", "busy", early)?;
    expect("started: bad sectors", "none", bad_early)?;
    expect("wait-scrub: scrub", "idle", late)?;
    let one = format!("{}+1", FIRST * BLOCKS);
    expect("wait-scrub: bad sectors", &one, bad_late)?;
    expect("write", "0", device.overwrite(FIRST)?)?;
    expect("written: firmware", "none", device.errors()?)?;
    expect("written: bad sectors", "none", device.0.badblocks()?)
}

/// The state of the scrub and the bad sectors, at its start and when ndctl has waited.
fn slowly(device: &Device) -> Result<[String; 4]> {
    let start = Instant::now();
    ndctl(&["start-scrub"])?;
    let (early, bad_early) = (scrubbing()?, device.0.badblocks()?);
    ndctl(&["wait-scrub"])?;
    let (late, bad_late) = (scrubbing()?, device.0.badblocks()?);
    note(&format!("scrubbed in {} s", start.elapsed().as_secs()))?;
    Ok([early, bad_early, late, bad_late])
}

scene!(CONSUME = 74 "consume" consume: "an error that lies there until it is met";
    nfit, passes(LAB));
/// An error that lies there unnoticed, until somebody consumes it.
fn consume(_: u64) -> Result<()> {
    let device = Device::new(0)?;
    let (_, path) = Xfs::with_file("file", 4)?;
    let file = calls::open(&path, 0)?;
    let at = ioctl::physical(&file, PAGE)?;
    let mut early = Map::new(&path, 4).early().start()?;

    device.inject(at / PAGE, BLOCKS, &["--no-notify", "--saturate"])?;
    expect("injected: mapper", "no signal", early.seen())?;
    expect("injected: touches it", "reads", early.touch(1))?;
    let next = firmware::consume(device.0, at + PAGE, None);
    let next = next.map_or("refused", |_| "delivered");
    expect("machine check, good", "refused", next)?;
    let outcome = firmware::consume(device.0, at, None)?;
    expect("machine check, bad", "Recovered", outcome)?;
    let told = "page 1 lsb 12";
    expect("mapper", &format!("BUS_MCEERR_AO {told}"), early.seen())?;
    let touch = early.touch(1);
    expect("touches it", &format!("BUS_MCEERR_AR {told}"), touch)?;
    fill(&file, 1, 2)?;
    expect("written: touches it", "reads", early.touch(1))?;
    expect("written: --status", "none", device.status()?)?;
    expect("written: bad sectors", "none", device.0.badblocks()?)?;
    drop((early, file));
    expect("reader", INTACT, xfs::intact(&path, 4))
}
