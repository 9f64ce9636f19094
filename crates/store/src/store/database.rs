//! One SQLite file: opening, migrations, one writer and a few readers.
//!
//! Invariants: every write is one short immediate transaction that is on the disk when it returns
//! (`synchronous = FULL`); every read sees one snapshot.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::error::{OpenError, ReadError};
use crate::files;

/// What a database file must be.
pub(crate) struct Schema {
    /// Marks the file as ours.
    pub application_id: i32,
    /// Statements that lead from version n to n + 1, at index n. Append-only.
    pub migrations: &'static [&'static str],
}

/// Most bytes that the write-ahead log keeps on disk between checkpoints.
const LOG_BYTES_MAX: i64 = 64 << 20;
/// Wait between attempts at what SQLite does not wait for by itself.
const RETRY: Duration = Duration::from_millis(2);
/// Prepared statements kept per connection.
const STATEMENTS: usize = 64;

/// One open database.
pub(crate) struct Database {
    writer: Mutex<Connection>,
    readers: Vec<Mutex<Connection>>,
    next: AtomicUsize,
    /// Never writes, so that its `data_version` moves with every commit of anyone else.
    watcher: Mutex<Connection>,
}

impl Database {
    /// Opens or creates the file and brings it to the newest schema.
    pub(crate) fn open(
        path: &Path,
        schema: &Schema,
        readers: usize,
        busy: Duration,
    ) -> Result<Self, OpenError> {
        // Created here so that it, and the log SQLite creates beside it, are never readable by others.
        files::open_private(path).map_err(|source| OpenError::Files { path: path.to_owned(), source })?;
        let failed = |source| OpenError::Database { path: path.to_owned(), source };
        let mut writer = connect(path, busy).map_err(failed)?;
        check_file(&writer, path, schema)?;
        enter_wal(&writer, busy).map_err(failed)?;
        migrate(&mut writer, path, schema)?;
        let reader = || {
            let connection = connect(path, busy)?;
            connection.pragma_update(None, "query_only", true)?;
            Ok(Mutex::new(connection))
        };
        let readers: Result<Vec<_>, _> = (0..readers.max(1)).map(|_| reader()).collect();
        Ok(Self {
            writer: Mutex::new(writer),
            readers: readers.map_err(failed)?,
            next: AtomicUsize::new(0),
            watcher: reader().map_err(failed)?,
        })
    }

    /// Runs `work` in one immediate transaction; an error rolls everything back.
    pub(crate) fn write<T, E: From<rusqlite::Error>>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut writer = lock(&self.writer);
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Runs `work` on one snapshot.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, ReadError> {
        let mut reader = self.reader();
        let transaction = reader.transaction()?;
        Ok(work(&transaction)?)
    }

    /// A number that moves whenever anyone, this process included, has committed.
    pub(crate) fn data_version(&self) -> Result<i64, ReadError> {
        Ok(lock(&self.watcher).pragma_query_value(None, "data_version", |row| row.get(0))?)
    }

    /// A reader that is free, or else the next in turn.
    fn reader(&self) -> MutexGuard<'_, Connection> {
        let free = self.readers.iter().find_map(|reader| reader.try_lock().ok());
        free.unwrap_or_else(|| {
            let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.readers.len().max(1);
            lock(self.readers.get(turn).unwrap_or(&self.watcher))
        })
    }
}

/// A panic while the lock was held has rolled its transaction back, so the connection is sound.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(path: &Path, busy: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(busy)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Without it, a REPLACE would delete rows behind the triggers' back.
    connection.pragma_update(None, "recursive_triggers", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

fn version(connection: &Connection) -> rusqlite::Result<(u32, i32)> {
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    Ok((version, application))
}

/// Refuses files that are not ours or too new before anything in them is touched.
///
/// On one snapshot: between two of its questions another process may create the tables, and a file of ours would look
/// like somebody else's.
fn check_file(connection: &Connection, path: &Path, schema: &Schema) -> Result<(), OpenError> {
    let failed = |source| OpenError::Database { path: path.to_owned(), source };
    let snapshot = connection.unchecked_transaction().map_err(failed)?;
    check_version(&snapshot, path, schema)
}

/// What [`check_file`] asks, within a transaction.
fn check_version(transaction: &Transaction<'_>, path: &Path, schema: &Schema) -> Result<(), OpenError> {
    let failed = |source| OpenError::Database { path: path.to_owned(), source };
    let (found, application) = version(transaction).map_err(failed)?;
    let tables: u32 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    let supported = schema.migrations.len() as u32;
    if (found != 0 || tables != 0) && application != schema.application_id {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    if found > supported {
        return Err(OpenError::Newer { path: path.to_owned(), found, supported });
    }
    Ok(())
}

/// Switches to a write-ahead log. SQLite does not wait here when another process does the same.
fn enter_wal(connection: &Connection, busy: Duration) -> rusqlite::Result<()> {
    let deadline = Instant::now() + busy;
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())) {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(RETRY);
            }
            other => {
                other?;
                return connection.pragma_update(None, "journal_size_limit", LOG_BYTES_MAX);
            }
        }
    }
}

/// Brings the file to the newest version in one transaction: after a crash it has the old version or the new.
fn migrate(connection: &mut Connection, path: &Path, schema: &Schema) -> Result<(), OpenError> {
    let failed = |source| OpenError::Database { path: path.to_owned(), source };
    if version(connection).map_err(failed)?.0 as usize == schema.migrations.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    // Another process may have been faster.
    check_version(&transaction, path, schema)?;
    let (from, _) = version(&transaction).map_err(failed)?;
    for statements in schema.migrations.iter().skip(from as usize) {
        transaction.execute_batch(statements).map_err(failed)?;
    }
    transaction.pragma_update(None, "user_version", schema.migrations.len() as u32).map_err(failed)?;
    transaction.pragma_update(None, "application_id", schema.application_id).map_err(failed)?;
    transaction.commit().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(5);
    const ONE: Schema = Schema { application_id: 7, migrations: &["CREATE TABLE a (x INTEGER) STRICT"] };
    const TWO: Schema = Schema {
        application_id: 7,
        migrations: &[
            "CREATE TABLE a (x INTEGER) STRICT",
            "ALTER TABLE a ADD COLUMN y INTEGER NOT NULL DEFAULT 5; UPDATE a SET y = x + 1",
        ],
    };
    const BROKEN: Schema = Schema {
        application_id: 7,
        migrations: &["CREATE TABLE a (x INTEGER) STRICT", "DELETE FROM a; CREATE TABLE a (z INTEGER)"],
    };

    fn open(path: &Path, schema: &Schema) -> Result<Database, OpenError> {
        Database::open(path, schema, 1, WAIT)
    }

    fn first_row(database: &Database, sql: &str) -> i64 {
        database.read(|connection| connection.query_row(sql, [], |row| row.get(0))).unwrap()
    }

    #[test]
    fn a_new_schema_is_reached_from_the_old_one_with_its_rows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let database = open(&path, &ONE).unwrap();
        database.write(|tx| tx.execute("INSERT INTO a VALUES (41)", [])).unwrap();
        drop(database);
        assert_eq!(first_row(&open(&path, &TWO).unwrap(), "SELECT y FROM a"), 42);
        // A second opening changes nothing.
        assert_eq!(first_row(&open(&path, &TWO).unwrap(), "SELECT count(*) FROM a"), 1);
        let refused = open(&path, &ONE).err().unwrap();
        assert!(matches!(refused, OpenError::Newer { found: 2, supported: 1, .. }), "{refused}");
    }

    #[test]
    fn a_migration_that_fails_half_way_leaves_the_old_schema_and_rows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let database = open(&path, &ONE).unwrap();
        database.write(|tx| tx.execute("INSERT INTO a VALUES (41)", [])).unwrap();
        drop(database);
        assert!(matches!(open(&path, &BROKEN), Err(OpenError::Database { .. })));
        assert_eq!(first_row(&open(&path, &ONE).unwrap(), "SELECT x FROM a"), 41);
    }

    #[test]
    fn a_database_of_somebody_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(open(&path, &ONE), Err(OpenError::Foreign { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn many_may_open_a_new_directory_at_once() {
        let dir = tempfile::tempdir().unwrap();
        // Each round is another chance to meet the others between two steps of opening.
        for round in 0..20 {
            let path = dir.path().join(format!("{round}.db"));
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        let database = open(&path, &TWO).unwrap();
                        database.write(|tx| tx.execute("INSERT INTO a VALUES (1, 2)", [])).unwrap();
                    });
                }
            });
            assert_eq!(first_row(&open(&path, &TWO).unwrap(), "SELECT count(*) FROM a"), 8);
        }
    }
}
