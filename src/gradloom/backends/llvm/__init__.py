"""Array programs as native code, by way of LLVM.

Read them in this order: `ir` (the text that is written), `elementary` (functions of vectors),
`kernel` (an instruction as loops), `native` (a program as machine code, ready to run).
"""
