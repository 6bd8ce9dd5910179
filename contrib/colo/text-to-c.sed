# The lines of a text, as a string in C
1i static const char colo_procedure_text[] =
s/[\"]/\\&/g
s/.*/"&\\n"/
$a ;
