//! What a statement is given: the database's type of each value follows from ours, so that it need not be asked for.

use std::borrow::Cow;
use std::time::SystemTime;

use tokio_postgres::types::{ToSql, Type};

/// A value of a statement.
pub(super) trait Parameter: ToSql + Sync {
    /// The database's type of it.
    fn kind(&self) -> Type;
}

/// What there may be a list of.
pub(super) trait Single: ToSql + Sync {
    const KIND: Type;
    const LIST: Type;
}

macro_rules! singles {
    ($($of:ty: $kind:ident, $list:ident;)*) => {
        $(impl Single for $of {
            const KIND: Type = Type::$kind;
            const LIST: Type = Type::$list;
        })*
    };
}

singles! {
    bool: BOOL, BOOL_ARRAY;
    i16: INT2, INT2_ARRAY;
    i64: INT8, INT8_ARRAY;
    f64: FLOAT8, FLOAT8_ARRAY;
    &str: TEXT, TEXT_ARRAY;
    String: TEXT, TEXT_ARRAY;
    Cow<'_, str>: TEXT, TEXT_ARRAY;
    SystemTime: TIMESTAMPTZ, TIMESTAMPTZ_ARRAY;
}

impl<T: Single> Single for &T {
    const KIND: Type = T::KIND;
    const LIST: Type = T::LIST;
}

impl<T: Single> Single for Option<T> {
    const KIND: Type = T::KIND;
    const LIST: Type = T::LIST;
}

impl<T: Single> Parameter for T {
    fn kind(&self) -> Type {
        T::KIND
    }
}

impl<T: Single> Parameter for Vec<T> {
    fn kind(&self) -> Type {
        T::LIST
    }
}
