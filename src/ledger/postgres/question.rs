//! A statement with its values: what a connection is asked.

use std::borrow::Cow;
use std::{array, fmt};

use futures_util::future::try_join;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Row, Statement};

use super::parameter::Parameter;
use super::session::MarkedClient;

/// The values of a statement.
pub(super) type Values<'v> = &'v [&'v dyn Parameter];

/// A value that a statement keeps.
pub(super) type Value = Box<dyn Parameter + Send>;

/// A statement with its values, which any connection can be asked.
pub(super) struct Question {
    pub(super) sql: Cow<'static, str>,
    values: Vec<Value>,
}

impl Question {
    pub(super) fn new(sql: impl Into<Cow<'static, str>>, values: Vec<Value>) -> Self {
        Self { sql: sql.into(), values }
    }

    /// The answer, of a question that is asked once.
    pub(super) async fn ask(&self, client: MarkedClient<'_>) -> Result<Vec<Row>, Error> {
        client.query_typed(&self.sql, &self.typed()).await
    }

    /// The answer, with the statement as it is prepared from now on; the first answer does not wait for that.
    pub(super) async fn ask_prepared(
        &self,
        prepared: Option<Statement>,
        client: MarkedClient<'_>,
    ) -> Result<(Vec<Row>, Statement), Error> {
        let typed = self.typed();
        let (values, kinds): (Vec<_>, Vec<_>) = typed.iter().cloned().unzip();
        match prepared {
            Some(statement) => Ok((client.query(&statement, &values).await?, statement)),
            None => {
                let answer = client.query_typed(&self.sql, &typed);
                try_join(answer, client.prepare_typed(&self.sql, &kinds)).await
            }
        }
    }

    /// Has it carried out, whatever it answers.
    pub(super) async fn tell(&self, client: MarkedClient<'_>) -> Result<(), Error> {
        if self.values.is_empty() {
            return client.batch_execute(&self.sql).await;
        }
        client.execute_typed(&self.sql, &self.typed()).await.map(drop)
    }

    fn typed(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.values.iter().map(|value| (&**value as _, value.kind())).collect()
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Question").field(&self.sql).finish_non_exhaustive()
    }
}

/// Values with the database's types of them.
pub(super) fn typed(values: Values<'_>) -> Vec<(&(dyn ToSql + Sync), Type)> {
    values.iter().map(|value| (*value as _, value.kind())).collect()
}

/// There are as many answers as questions.
pub(super) fn each_to_its_question<const N: usize>(answers: Vec<Vec<Row>>) -> [Vec<Row>; N] {
    let mut answers = answers.into_iter();
    array::from_fn(|_| answers.next().unwrap_or_default())
}
