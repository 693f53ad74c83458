// SPDX-License-Identifier: GPL-2.0

//! What `dax-owners` says, as JSON.

use std::fs::OpenOptions;

use serde_json::Value;

use super::partitions::Table;
use super::volume::{Volume, EXT4};
use crate::lvm::Group;
use crate::scenes::prelude::*;

const TOOL: &str = "dax-owners is for any kernel";
/// Without DAX, which stock refuses on a partition where blocks can be shared.
const XFS: [&str; 5] = ["mkfs.xfs", "-q", "-f", "-m", "reflink=0,rmapbt=1"];

/// What it prints, or the error that it ends with.
fn ask(words: &[&str]) -> Result<Result<Value, String>> {
    let mut command = Command::new("dax-owners");
    let out = command
        .arg("--json")
        .args(words)
        .output()
        .context("dax-owners")?;
    let said = String::from_utf8_lossy(&out.stderr).trim().to_string();
    Ok(match out.status.code() {
        Some(0) => Ok(serde_json::from_slice(&out.stdout).context("dax-owners --json")?),
        Some(1) => Err(said),
        _ => bail!("dax-owners: {}: {said}", out.status),
    })
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

/// An extent, in words; paths without the folder `mount`.
fn extent(extent: &Value, mount: &str) -> String {
    let holds = extent["holds"].as_str().unwrap_or_default();
    if extent["owner"] != "inode" {
        return [extent["owner"].as_str().unwrap_or_default(), holds].join(" ");
    }
    let paths = list(extent, "paths").filter_map(Value::as_str);
    let mut words = vec![holds.to_string(), extent["file_offset"].to_string()];
    words.extend(paths.map(|path| path.replace(&format!("{mount}/"), "")));
    for process in list(extent, "processes") {
        words.push(format!("by {} at {}", process["pid"], process["address"]));
    }
    words.join(" ")
}

/// All extents of all filesystems, or the error.
fn owners(words: &[&str]) -> Result<String> {
    let report = match ask(words)? {
        Ok(report) => report,
        Err(e) => return Ok(e),
    };
    let mut all = Vec::new();
    for fs in list(&report, "ranges").flat_map(|range| list(range, "filesystems")) {
        let mount = fs["mount"].as_str().unwrap_or_default();
        all.extend(list(fs, "extents").map(|one| extent(one, mount).trim().to_string()));
    }
    all.sort_unstable();
    Ok(all.join("; "))
}

/// The owners of a page of a device.
fn page(device: &str, at: u64) -> Result<String> {
    owners(&["device", device, &at.to_string(), "4096"])
}

/// The same without numbers that vary: a process maps a page of a file.
fn mapped(owners: String, probe: &Probe, page: usize) -> Result<String> {
    let by = format!(" by {} at {}", probe.pid(), probe.address(page));
    Ok(owners.replace(&by, ", mapped"))
}

scene!(OWNERS = 260 "owners" play: "dax-owners: shared blocks, free ones, metadata, addresses";
    both, passes(TOOL));
fn play(_: u64) -> Result<()> {
    let (xfs, a, _) = Xfs::with_pair(4)?;
    let c = xfs.file("c", 6)?;
    {
        let to = OpenOptions::new().write(true).open(&c)?;
        ioctl::clone_range(&File::open(&a)?, PAGE, PAGE, &to, 5 * PAGE)?;
        to.sync_all()?;
    }
    fs::hard_link(&a, xfs.path("link"))?;
    let (at, root) = (place(&a, 1)?, xfs.root()?);
    let probe = Map::new(&c, 6).start()?;
    let page = |device: &str, at: u64| mapped(page(device, at)?, &probe, 5);
    let owners = |words: &[&str]| mapped(owners(words)?, &probe, 5);
    let all = "data 20480 c, mapped; data 4096 a link; data 4096 b";

    expect("shared", all, page("pmem0", at)?)?;
    let number = inode(&a)?.to_string();
    let of_inode = owners(&["inode", "pmem0", &number, "4096", "4096"])?;
    expect("by inode and offset", all, of_inode)?;
    let address = Pmem(0).address(at)?;
    let by_address = owners(&["address", &format!("{address:#x}"), "4096"])?;
    expect("by physical address", all, by_address)?;
    let by_pfn = owners(&["pfn", &(address / PAGE).to_string()])?;
    expect("by page frame", all, by_pfn)?;
    let by_sector = owners(&["device", "/dev/pmem0", &format!("{}s", at / SECTOR), "8s"])?;
    expect("by sector", all, by_sector)?;

    often(&xfs, &a)?;
    let said = page("pmem0", place(&a, 0)?)?;
    let count = said.matches("often").count();
    expect("often in one file", &MANY.to_string(), count.to_string())?;
    let root_dir = root.metadata()?.st_ino().to_string();
    let none = owners(&["inode", "pmem0", &root_dir, "0"])?;
    let hole = format!("inode {root_dir} has no blocks there");
    expect_so("inode without blocks", none.contains(&hole), "said", &none)?;

    // The last owner of the block has no path any more.
    fs::remove_file(&c)?;
    let deleted = all.replace("20480 c", "20480");
    expect("one is deleted", &deleted, page("pmem0", at)?)?;

    let free = ioctl::owned_by(&root, FMR_OWN_FREE)?.physical + 16 * MIB;
    expect("free", "free", page("pmem0", free)?)?;
    for (name, owner) in [("log", XFS_FMR_OWN_LOG), ("inodes", XFS_FMR_OWN_INODES)] {
        let at = ioctl::owned_by(&root, owner)?.physical;
        expect(name, &format!("metadata {name}"), page("pmem0", at)?)?;
    }
    let size = Pmem(0).size()?;
    let beyond =
        format!("dax-owners: byte {size} is beyond the end of /dev/pmem0, which has {size}");
    let size = size.to_string();
    expect(
        "beyond the end",
        &beyond,
        owners(&["device", "pmem0", &size])?,
    )?;
    let nobody = "dax-owners: no filesystem that has these bytes of /dev/pmem1 is mounted";
    expect("not mounted", nobody, page("pmem1", 0)?)
}

scene!(OWNERS_BAD = 261 "owners-bad" bad: "dax-owners: all that a device's driver lists as bad";
    both, passes(TOOL));
fn bad(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let free = ioctl::owned_by(&xfs.root()?, FMR_OWN_FREE)?.physical + 16 * MIB;
    expect("none", "", owners(&["badblocks", "pmem0"])?)?;
    Pmem(0).list(place(&file, 2)? + SECTOR, 2 * SECTOR)?;
    Pmem(0).list_bad(free)?;

    let report = ask(&["badblocks", "pmem0"])?;
    let report = report.map_err(anyhow::Error::msg)?;
    let lengths = list(&report, "ranges").map(|range| range["length"].to_string());
    let lengths: Vec<_> = lengths.collect();
    expect("lengths", "1024 4096", lengths.join(" "))?;
    let all = owners(&["badblocks", "/dev/pmem0"])?;
    expect("owners", "data 8704 file; free", all)?;
    Pmem(0).overwrite_bad()
}

/// More than the kernel tells at a time.
const MANY: usize = 2100;

/// A file that has its first block very often.
fn often(xfs: &Xfs, from: &Path) -> Result<()> {
    let (from, to) = (File::open(from)?, File::create(xfs.path("often"))?);
    for n in 0..MANY as u64 {
        ioctl::clone_range(&from, 0, PAGE, &to, 2 * n * PAGE)?;
    }
    Ok(to.sync_all()?)
}

scene!(OWNERS_PATHS = 262 "owners-paths" paths:
    "dax-owners: paths of XFS with parent pointers and without"; passes(TOOL));
/// The one of two directories that something is mounted over can be seen by parent pointers alone.
fn paths(_: u64) -> Result<()> {
    let ways: [(&'static [&'static str], &str); 2] = [
        (&["-n", "parent=1"], "data 0 top/hidden/name top/open/other"),
        (&["-n", "parent=0"], "data 0 top/open/other"),
    ];
    for (words, hidden) in ways {
        let xfs = Xfs::new(&Options::mkfs(words))?;
        for dir in ["top/hidden", "top/open"] {
            fs::create_dir_all(xfs.path(dir))?;
        }
        let file = xfs.file("top/hidden/name", 1)?;
        fs::hard_link(&file, xfs.path("top/open/other"))?;
        let (at, name) = (place(&file, 0)?, words[1]);
        let all = "data 0 top/hidden/name top/open/other";
        expect(name, all, page("pmem0", at)?)?;
        let over = xfs.path("top/hidden");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "none"])
            .arg(&over))?;
        let said = page("pmem0", at);
        run(Command::new("umount").arg(&over))?;
        expect(&format!("{name}, mounted over"), hidden, said?)?;
        ended(xfs)?;
    }
    Ok(())
}

scene!(OWNERS_VOLUME = 263 "owners-volume" volumes:
    "dax-owners: partitions, and a volume that is striped over both devices"; passes(TOOL));
fn volumes(_: u64) -> Result<()> {
    let border = 402 * MIB;
    {
        let _table = Table::new()?;
        let one = Volume::new("p1", "/dev/pmem0p1", &XFS)?;
        let two = Volume::new("p2", "/dev/pmem0p2", &XFS)?;
        let at = place(&two.file(4)?, 1)?;
        let file = "data 4096 file";
        expect("the partition", file, page("pmem0p2", at)?)?;
        expect("the device", file, page("pmem0", border + at)?)?;
        let both = format!("{:#x}-{:#x}", border - PAGE, border + PAGE - 1);
        let both = owners(&["device", "pmem0", &both])?;
        expect("the border", "free; metadata filesystem headers", both)?;
        drop(one);
        let unclaimed = ask(&["device", "pmem0", &(border - PAGE).to_string(), "8192"])?;
        let unclaimed = unclaimed.map_err(anyhow::Error::msg)?;
        let unclaimed = &unclaimed["ranges"][0]["unclaimed"];
        let first = format!("[{{\"length\":4096,\"offset\":{}}}]", border - PAGE);
        expect("one is not mounted", &first, unclaimed.to_string())?;
    }
    let group = Group::new(&[Pmem(0), Pmem(1)])?;
    let device = group.create("striped", &["-i2", "-I64k", "-L", "640m"], &[])?;
    let volume = Volume::new("striped", &device, &XFS)?;
    let file = volume.file(64)?;
    for page_number in [1, 17] {
        // Bytes of the volume, in chunks of 64 KiB; the data of both devices begin at 2 MiB.
        let at = place(&file, page_number)?;
        let (chunk, within) = (at >> 16, at & 0xffff);
        let below = 2 * MIB + ((chunk / 2) << 16) + within;
        let said = page(&Pmem(chunk as u32 % 2).path(), below)?;
        let wanted = format!("data {} file", page_number as u64 * PAGE);
        expect(&format!("striped, page {page_number}"), &wanted, said)?;
    }
    Ok(())
}

scene!(OWNERS_SCAN = 264 "owners-scan" scan:
    "dax-owners: ext4 and XFS without rmapbt, whose files are searched"; passes(TOOL));
fn scan(_: u64) -> Result<()> {
    const NO_RMAPBT: [&str; 5] = ["mkfs.xfs", "-q", "-f", "-m", "reflink=1,rmapbt=0"];
    {
        let ext4 = Volume::new("ext4", "/dev/pmem0", &EXT4)?;
        let file = ext4.file(4)?;
        fs::hard_link(&file, ext4.path("link"))?;
        let at = place(&file, 3)?;
        let probe = Map::new(&file, 4).start()?;
        let wanted = "data 12288 file link, mapped";
        expect("ext4", wanted, mapped(page("pmem0", at)?, &probe, 3)?)?;
        let number = inode(&file)?.to_string();
        let mount = ext4.dir().display().to_string();
        let of_inode = owners(&["inode", &mount, &number, "12288", "4096"])?;
        expect("ext4, by inode", wanted, mapped(of_inode, &probe, 3)?)?;
        expect(
            "ext4, block 0",
            "metadata filesystem headers",
            page("pmem0", 0)?,
        )?;
        fs::remove_file(ext4.path("link"))?;
        fs::remove_file(&file)?;
        expect("ext4, deleted", "unknown", page("pmem0", at)?)?;
    }
    let xfs = Volume::new("xfs", "/dev/pmem0", &NO_RMAPBT)?;
    let [file, _] = xfs.pair(4)?;
    let at = place(&file, 1)?;
    let both = "data 4096 clone; data 4096 file";
    expect("XFS without rmapbt", both, page("pmem0", at)?)
}

scene!(FSMAP = 266 "fsmap" fsmap: "a block that a file has more often than GETFSMAP returns at once";
    differs("records of the file", ""));
fn fsmap(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 1)?;
    often(&xfs, &file)?;
    let (root, ino) = (xfs.root()?, inode(&xfs.path("often"))?);
    let all = ioctl::all_of_inode(&root, ino)?.into_iter();
    let data = all.filter(|extent| extent.is_data()).count().to_string();
    expect("records of the file", &MANY.to_string(), data)
}
