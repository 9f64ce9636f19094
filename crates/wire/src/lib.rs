//! Dialects: requests, streams, usage, prices, refusals; bytes in, values out.
