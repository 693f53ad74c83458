// SPDX-License-Identifier: GPL-2.0

//! PostgreSQL: a bad page of a table costs the rows in its block.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};

use super::{cleared, good, tool, Said, Victim};
use crate::scenes::prelude::*;

const PACKAGE: &str = "postgresql-17";
const SOCKETS: &str = "/tmp";
/// Pages of memory in a block.
const BLOCK: usize = 2;
/// The block that fails, of the table's first file.
const HIT: usize = 3;

/// A program that runs as the user postgres.
fn program(name: &str) -> Result<Command> {
    let mut program = tool(name, PACKAGE)?;
    let (user, group) = user()?;
    program.uid(user).gid(group).current_dir(SOCKETS);
    Ok(program)
}

/// User and group of postgres.
fn user() -> Result<(u32, u32)> {
    let text = fs::read_to_string("/etc/passwd")?;
    let line = text.lines().find(|line| line.starts_with("postgres:"));
    let line = line.context("no user postgres: Debian's package postgresql-common has it")?;
    let mut fields = line.split(':').skip(2);
    let mut number = || {
        fields
            .next()
            .context("/etc/passwd")?
            .parse()
            .context("/etc/passwd")
    };
    Ok((number()?, number()?))
}

struct Server(Child);

impl Server {
    fn start(data: &Path) -> Result<Self> {
        let mut postgres = program("postgres")?;
        postgres.arg("-D").arg(data).args(["-k", SOCKETS]);
        postgres.args(["-c", "listen_addresses=", "-c", "autovacuum=off"]);
        postgres.args(["-c", "shared_buffers=16MB", "-c", "max_connections=10"]);
        let log = File::create("/tmp/postgres.log")?;
        postgres.stdout(log.try_clone()?).stderr(log);
        let mut server = Self(postgres.spawn().context("postgres")?);
        let end = Instant::now() + kernel::limit(60);
        while Said::of(psql()?.arg("-c").arg("select 1"))?.good().is_err() {
            let gone = server.0.try_wait()?.is_some();
            let log = || fs::read_to_string("/tmp/postgres.log").unwrap_or_default();
            ensure!(!gone && Instant::now() < end, "postgres: {}", log());
            sleep(Duration::from_millis(100));
        }
        Ok(server)
    }

    /// With a checkpoint.
    fn stop(mut self) -> Result<()> {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT)?;
        let status = self.0.wait()?;
        ensure!(status.success(), "postgres: {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn psql() -> Result<Command> {
    let mut psql = program("psql")?;
    psql.args([
        "-h",
        SOCKETS,
        "-d",
        "postgres",
        "-XAtq",
        "-v",
        "ON_ERROR_STOP=1",
    ]);
    psql.stdin(Stdio::null());
    Ok(psql)
}

fn say(sql: &str) -> Result<Said> {
    Said::of(psql()?.arg("-c").arg(sql))
}

fn get(sql: &str) -> Result<String> {
    say(sql)?.good().context("psql")
}

/// `pg_dump` of the table, with what drops the one that is there.
fn dump(to: &str) -> Result<Said> {
    let mut pg_dump = program("pg_dump")?;
    pg_dump.args(["-h", SOCKETS, "-d", "postgres"]);
    Said::of(pg_dump.args(["-t", "hit", "--clean", "-f", to]))
}

/// A question about all rows.
fn all(table: &str) -> String {
    format!("select count(*) || ' ' || md5(string_agg(words, '' order by id)) from {table}")
}

scene!(POSTGRES = 272 "postgres" play: "PostgreSQL: a bad page in a table, restored from a dump";
    long, fast, differs("a lost row", "Bad address"));
fn play(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let data = xfs.path("data");
    fs::create_dir(&data)?;
    let (user, group) = user()?;
    chown(&data, Some(user), Some(group))?;
    let mut init = program("initdb")?;
    init.arg("-D")
        .arg(&data)
        .args(["--no-sync", "--no-instructions", "-A", "trust"]);
    good(init.args(["--no-locale", "-E", "UTF8"]))?;

    let server = Server::start(&data)?;
    get("create table hit (id int primary key, words text);
        insert into hit select i, repeat(md5(i::text), 5) from generate_series(1, 1000) i;
        create table other as select * from hit")?;
    let before = get(&all("hit"))?;
    let lost = format!("ctid >= '({HIT},0)' and ctid < '({},0)'", HIT + 1);
    let rows = get(&format!("select count(*) from hit where {lost}"))?;
    let path = data.join(get("select pg_relation_filepath('hit')")?);
    let kept = "/tmp/hit.sql";
    dump(kept)?.good().context("pg_dump")?;
    // Nothing of it is in the server's own memory then.
    server.stop()?;
    let server = Server::start(&data)?;

    let victim = Victim::hit(&path, HIT * BLOCK)?;
    let file = path.strip_prefix(&data)?.display();
    let words =
        format!("could not read blocks {HIT}..{HIT} in file \"{file}\": Input/output error");
    let refused = |sql: &str| -> Result<String> { Ok(say(sql)?.with(&words)) };
    expect(
        "a lost row",
        &words,
        refused(&format!("select sum(length(words)) from hit where {lost}"))?,
    )?;
    // By numbers of blocks, it does not read the bad one.
    let parts = [
        format!("ctid < '({HIT},0)'"),
        format!("ctid >= '({},0)'", HIT + 1),
    ];
    let mut count = 0;
    for part in parts {
        count += get(&format!("select count(words) from hit where {part}"))?.parse::<usize>()?;
    }
    expect(
        "the other rows",
        &(1000 - rows.parse::<usize>()?).to_string(),
        count.to_string(),
    )?;
    expect("another table", &before, get(&all("other"))?)?;
    // To another file: it empties this one before it fails.
    let failed = dump("/tmp/other.sql")?.with("Input/output error");
    expect("pg_dump", "Input/output error", failed)?;

    good(psql()?.args(["-f", kept]))?;
    expect("restored: rows", &before, get(&all("hit"))?)?;
    server.stop()?;
    // The file is gone, and its blocks are free.
    let marks = cleared(&xfs, || victim.bad.marks())?;
    expect("restored: marks", "none", marks)
}
