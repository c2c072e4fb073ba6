/* The supervisor's executable as bytes of the agent. */
    .section .rodata
    .global turnout_supervisor_begin
    .global turnout_supervisor_end
    .balign 16
turnout_supervisor_begin:
    .incbin TURNOUT_SUPERVISOR_FILE
turnout_supervisor_end:
    .byte 0
    .section .note.GNU-stack,"",@progbits
