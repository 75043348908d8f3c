// Eight qubits in a ring of weak interactions: two cuts make two halves.
OPENQASM 2.0;
include "qelib1.inc";
qreg q[8];
h q;
rzz(0.3) q[0],q[1];
rzz(0.3) q[1],q[2];
rzz(0.3) q[2],q[3];
rzz(0.3) q[3],q[4];
rzz(0.3) q[4],q[5];
rzz(0.3) q[5],q[6];
rzz(0.3) q[6],q[7];
rzz(0.3) q[7],q[0];
rx(0.7) q;
