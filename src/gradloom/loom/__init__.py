"""The loom: scalar code, recorded once, becomes a short array program.

Read `graph` (scalars in SSA form), `record` (how Python code becomes one), `simplify`, `weave`
(how scalars become arrays), `program` (the array instructions), `adjoint` and `tangent` (their
derivatives, backward and forward), `sparsity` (which of them are 0) and `derivatives` (Jacobians
and Hessians made of these).
"""
