//! The data plane: accept, identify, admit, judge, forward, tap, settle, observe.
