//! A connection on which every statement says whose it is: of all that the database is at work on, ours is known by it, also
//! where a pooler gives each transaction another connection.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row, RowStream, Statement};

/// A value with the database's type of it.
type Typed<'v> = (&'v (dyn ToSql + Sync), Type);

/// What all statements of a connection with this token begin with.
pub(super) fn mark(token: &str) -> String {
    format!("/* v6fleet {token} */ ")
}

/// A client whose statements begin with its [`mark`].
#[derive(Clone, Copy)]
pub(in crate::ledger::postgres) struct MarkedClient<'c> {
    pub(super) client: &'c Client,
    pub(super) token: &'c str,
}

impl MarkedClient<'_> {
    fn marked(&self, sql: &str) -> String {
        mark(self.token) + sql
    }

    pub(in crate::ledger::postgres) async fn batch_execute(self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(&self.marked(sql)).await
    }

    pub(in crate::ledger::postgres) async fn execute_typed(
        self,
        sql: &str,
        values: &[Typed<'_>],
    ) -> Result<u64, Error> {
        self.client.execute_typed(&self.marked(sql), values).await
    }

    pub(in crate::ledger::postgres) async fn query_typed(
        self,
        sql: &str,
        values: &[Typed<'_>],
    ) -> Result<Vec<Row>, Error> {
        self.client.query_typed(&self.marked(sql), values).await
    }

    pub(super) async fn query_typed_one(self, sql: &str, values: &[Typed<'_>]) -> Result<Row, Error> {
        self.client.query_typed_one(&self.marked(sql), values).await
    }

    /// Rows as they come in.
    pub(super) async fn stream_typed(self, sql: &str, values: Vec<Typed<'_>>) -> Result<RowStream, Error> {
        self.client.query_typed_raw(&self.marked(sql), values).await
    }

    pub(in crate::ledger::postgres) async fn prepare_typed(
        self,
        sql: &str,
        kinds: &[Type],
    ) -> Result<Statement, Error> {
        self.client.prepare_typed(&self.marked(sql), kinds).await
    }

    /// What a statement answers that was prepared.
    pub(in crate::ledger::postgres) async fn query(
        self,
        prepared: &Statement,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.client.query(prepared, values).await
    }
}
