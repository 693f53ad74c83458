// SPDX-License-Identifier: GPL-2.0

//! SQLite: a bad page of a table costs the rows in it.

use super::{tool, Said, Victim};
use crate::scenes::prelude::*;

/// A page of the database is a page of memory.
const MAKE: &str = "
    pragma page_size = 4096;
    create table other (id integer primary key, words text);
    create table hit (id integer primary key, words text);
    with recursive n(i) as (values (1) union all select i + 1 from n where i < 1000)
        insert into hit select i, hex(randomblob(100)) from n;
    insert into other select * from hit;";
/// The fifth leaf of the table: its page, its rows, and the rows before it.
const LEAF: &str = "
    select pageno, ncell, (select sum(ncell) from dbstat before
        where before.name = 'hit' and before.pagetype = 'leaf' and before.path < leaf.path)
    from dbstat leaf where name = 'hit' and pagetype = 'leaf' order by path limit 1 offset 4";

const MALFORMED: &str = "database disk image is malformed";

struct Database(PathBuf);

impl Database {
    fn say(&self, sql: &str) -> Result<Said> {
        let mut sqlite = tool("sqlite3", "sqlite3")?;
        Said::of(sqlite.arg("-batch").arg(&self.0).arg(sql))
    }

    fn get(&self, sql: &str) -> Result<String> {
        self.say(sql)?.good().context("sqlite3")
    }

    /// What is said to a question that meets the bad page: of a file on a disk, SQLite takes EIO
    /// for a sign that the filesystem is damaged.
    fn refuses(&self, sql: &str) -> Result<String> {
        Ok(self.say(sql)?.with(MALFORMED))
    }
}

scene!(SQLITE = 270 "sqlite" play: "SQLite: a bad page in a table, restored from a backup";
    fast, differs("all rows, mapped", "exit 0"));
fn play(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let db = Database(xfs.path("db"));
    let backup = xfs.path("backup");
    db.get(MAKE)?;
    db.get(&format!(".backup {}", backup.display()))?;
    let leaf = db.get(LEAF)?;
    let numbers: Vec<usize> = leaf.split('|').map(str::parse).collect::<Result<_, _>>()?;
    let [page, rows, before] = numbers[..] else {
        bail!("dbstat: {leaf}");
    };
    let after = 1000 - before - rows;
    let sum = db.get("select sum(length(words)) from hit")?;

    let victim = Victim::hit(&db.0, page - 1)?;
    let all = "select sum(length(words)) from hit";
    expect("all rows", MALFORMED, db.refuses(all)?)?;
    let row = format!("select words from hit where id = {}", before + 1);
    expect("a lost row", MALFORMED, db.refuses(&row)?)?;
    let update = format!("update hit set words = '' where id = {}", before + 1);
    expect("a lost row, written", MALFORMED, db.refuses(&update)?)?;
    let mapped = format!("pragma mmap_size = 100000000; {all}");
    expect(
        "all rows, mapped",
        "killed by SIGBUS",
        db.say(&mapped)?.ended(),
    )?;
    // It looks for the next row, too, unless it is told that there is none to come.
    let count = |rows: String| db.get(&format!("select count(words) from ({rows})"));
    let got = count(format!("select words from hit order by id limit {before}"))?;
    expect("rows before", &before.to_string(), got)?;
    let got = count(format!(
        "select words from hit where id >= {}",
        before + rows + 1
    ))?;
    expect("rows behind", &after.to_string(), got)?;
    expect(
        "another table",
        "1000",
        count("select words from other".into())?,
    )?;
    // It reads what it is to write.
    let restore = format!(".restore {}", backup.display());
    let said = db.say(&restore)?.with("disk I/O error");
    expect("its own restore", "disk I/O error", said)?;

    victim.restore_from(&backup)?;
    victim.expect_restored()?;
    expect("all rows", &sum, db.get(all)?)?;
    expect("integrity_check", "ok", db.get("pragma integrity_check")?)
}
